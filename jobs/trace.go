package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/tidwall/sjson"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	tracerName = "github.com/opentax/tally/jobs"
	// traceKey is the key of a job's metadata that has the trace of the request, in the form of
	// the W3C's Trace Context.
	traceKey = "tally:trace"
)

// tracing continues the trace of a request in the attempts at its run, in any process. The
// attributes follow OpenTelemetry's semantic conventions for messaging.
type tracing struct {
	river.MiddlewareDefaults
	tracer trace.Tracer
}

// InsertMany makes a span and stores its trace with the jobs, which are of one queue.
func (t *tracing) InsertMany(
	ctx context.Context, jobs []*rivertype.JobInsertParams, insert func(context.Context) ([]*rivertype.JobInsertResult, error),
) ([]*rivertype.JobInsertResult, error) {
	queue := jobs[0].Queue
	ctx, span := t.tracer.Start(ctx, "send "+queue, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "river"), attribute.String("messaging.operation.type", "send"),
		attribute.String("messaging.destination.name", queue), attribute.Int("messaging.batch.message_count", len(jobs))))
	defer span.End()
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if len(carrier) > 0 {
		for _, job := range jobs {
			var err error
			if job.Metadata, err = sjson.SetBytes(job.Metadata, traceKey, carrier); err != nil {
				return nil, fmt.Errorf("metadata of a %s job: %w", job.Kind, err)
			}
		}
	}
	inserted, err := insert(ctx)
	failSpan(span, err)
	return inserted, err
}

// Work makes a span of an attempt, in the trace of the job's metadata.
func (t *tracing) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	var metadata struct {
		Trace propagation.MapCarrier `json:"tally:trace"`
	}
	if err := json.Unmarshal(job.Metadata, &metadata); err == nil && metadata.Trace != nil {
		ctx = propagation.TraceContext{}.Extract(ctx, metadata.Trace)
	}
	ctx, span := t.tracer.Start(ctx, "process "+job.Kind, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "river"), attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", job.Queue), attribute.String("messaging.message.id", strconv.FormatInt(job.ID, 10)),
		attribute.Int("tally.attempt", job.Attempt), attribute.String("tally.args", string(job.EncodedArgs))))
	defer span.End()
	err := work(ctx)
	failSpan(span, err)
	return err
}

// failSpan records an error; a snooze is none.
func failSpan(span trace.Span, err error) {
	if _, snoozed := errors.AsType[*rivertype.JobSnoozeError](err); err != nil && !snoozed {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
}
