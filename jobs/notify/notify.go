// Package notify delivers messages to the channels that are configured: a webhook and
// mail.
//
// Guarantees. A message has the same id at each try, so that a receiver recognizes one
// that it has already got. A try ends within 30 seconds. Secrets are in no error and in no
// text of a setting.
//
// Failure. Send returns an error, and [ErrGone] if the receiver wants no more messages.
// The caller tries again; this package remembers nothing.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// sendTimeout bounds one try.
const sendTimeout = 30 * time.Second

// ErrGone reports that the receiver answered 410: it wants no more messages.
var ErrGone = errors.New("the receiver wants no more messages (410 Gone)")

// Names of channels.
const (
	ChannelWebhook = "webhook"
	ChannelMail    = "mail"
)

// Config names the channels. Its zero value has none.
type Config struct {
	Webhook Webhook `yaml:"webhook"`
	Mail    Mail    `yaml:"mail"`
}

// Secret is a setting that is shown nowhere.
type Secret string

const redacted = "…"

// String returns a placeholder, which fmt uses too.
func (Secret) String() string { return redacted }

// GoString is String for %#v.
func (Secret) GoString() string { return redacted }

// MarshalText is String for JSON and logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Message is what is told.
type Message struct {
	ID      string    // the same at each try
	Type    string    // such as run.failed
	Time    time.Time // of the event
	Subject string    // of a mail
	Text    string    // of a mail
	Data    any       // the object data of a webhook's body
}

// Channel is one way to deliver messages.
type Channel struct {
	Name   string
	Target string // the receiver, without secrets
	send   func(context.Context, Message) error
}

// Send delivers a message, or returns an error that names the channel and its target.
func (c Channel) Send(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := c.send(ctx, m); err != nil {
		return fmt.Errorf("%s to %s: %w", c.Name, c.Target, err)
	}
	return nil
}

// Channels checks the settings and returns the channels that they name. An error names
// the setting that is wrong, without its value.
func (c Config) Channels() (channels []Channel, err error) {
	if c.Webhook != (Webhook{}) {
		hook, err := c.Webhook.channel()
		if err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
		channels = append(channels, hook)
	}
	if c.Mail.SMTP != "" || c.Mail.From != "" || len(c.Mail.To) > 0 {
		mail, err := c.Mail.channel()
		if err != nil {
			return nil, fmt.Errorf("mail: %w", err)
		}
		channels = append(channels, mail)
	}
	return channels, nil
}

// TestMessage is a message that tries a channel.
func TestMessage(id string, now time.Time) Message {
	const text = "This is a test of Tally's notifications. Nothing needs to be done."
	return Message{ID: id, Type: "test", Time: now, Subject: "test of notifications", Text: text, Data: map[string]string{"what": text}}
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// oneLine replaces control characters, line breaks included, and shortens the text.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
	runes := []rune(text)
	if len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}
