package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	tracerName = "github.com/opentax/tally/jobs"
	// traceKey is where a job's metadata holds the trace it was asked for in, as the W3C's
	// Trace Context has it.
	traceKey = "tally:trace"
)

// tracing carries a trace from the request that asks for a run through the queue to
// the attempts at it, whichever process makes them. Attributes are named as
// OpenTelemetry's semantic conventions for messaging have them.
type tracing struct {
	river.MiddlewareDefaults
	tracer trace.Tracer
}

// InsertMany makes a span and notes it with the jobs.
func (t *tracing) InsertMany(ctx context.Context, jobs []*rivertype.JobInsertParams, insert func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	ctx, span := t.tracer.Start(ctx, "send "+queueName, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "river"), attribute.String("messaging.operation.type", "send"),
		attribute.String("messaging.destination.name", queueName), attribute.Int("messaging.batch.message_count", len(jobs))))
	defer span.End()
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if len(carrier) > 0 {
		for _, job := range jobs {
			if err := storeTrace(job, carrier); err != nil {
				return nil, err
			}
		}
	}
	inserted, err := insert(ctx)
	failSpan(span, err)
	return inserted, err
}

func storeTrace(job *rivertype.JobInsertParams, carrier propagation.MapCarrier) error {
	metadata := map[string]any{}
	if len(job.Metadata) > 0 {
		if err := json.Unmarshal(job.Metadata, &metadata); err != nil {
			return fmt.Errorf("metadata of a %s job: %w", job.Kind, err)
		}
	}
	metadata[traceKey] = carrier
	var err error
	job.Metadata, err = json.Marshal(metadata)
	return err
}

// Work makes a span of an attempt, in the trace that the job's metadata names.
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

// failSpan notes an error; to be put off is none.
func failSpan(span trace.Span, err error) {
	if _, later := errors.AsType[*rivertype.JobSnoozeError](err); err != nil && !later {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
}
