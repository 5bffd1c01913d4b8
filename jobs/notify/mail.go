package notify

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

const (
	smtpTimeout = 20 * time.Second // of each step, all within sendTimeout
	smtpPort    = 587
	smtpsPort   = 465
	maxSubject  = 150 // characters
)

// Mail is a receiver of messages through an SMTP server.
type Mail struct {
	// SMTP is smtp://user:password@host:port (STARTTLS, by default port 587) or smtps://…
	// (TLS from the start, port 465). The user is optional.
	SMTP Secret   `yaml:"smtp"`
	From string   `yaml:"from"`
	To   []string `yaml:"to"`
}

type smtpServer struct {
	host     string
	options  []gomail.Option
	from, to []string
	domain   string // of Message-IDs
}

func (m Mail) channel() (Channel, error) {
	server, err := m.server()
	if err != nil {
		return Channel{}, err
	}
	return Channel{ChannelMail, strings.Join(server.to, ", "), server.send}, nil
}

func (m Mail) server() (s smtpServer, err error) {
	target, err := url.Parse(string(m.SMTP))
	if err != nil || target.Hostname() == "" || target.Scheme != "smtp" && target.Scheme != "smtps" || strings.Trim(target.Path, "/") != "" {
		return s, errors.New("smtp: want smtp://user:password@host:port or smtps://…")
	}
	s.host = target.Hostname()
	port, policy := smtpPort, gomail.TLSMandatory
	password, authenticated := target.User.Password()
	if target.Scheme == "smtps" {
		port = smtpsPort
		s.options = append(s.options, gomail.WithSSL())
	} else if isLoopback(s.host) || !authenticated { // a relay of the own network may have no TLS
		policy = gomail.TLSOpportunistic
	}
	if target.Port() != "" {
		if port, err = strconv.Atoi(target.Port()); err != nil {
			return s, errors.New("smtp: the port is no number")
		}
	}
	s.options = append(s.options, gomail.WithTLSPolicy(policy), gomail.WithPort(port), gomail.WithTimeout(smtpTimeout))
	if authenticated {
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(target.User.Username()), gomail.WithPassword(password))
	}
	return s, s.addresses(m)
}

func (s *smtpServer) addresses(m Mail) error {
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	s.from = []string{from.String()}
	_, s.domain, _ = strings.Cut(from.Address, "@")
	for _, address := range m.To {
		to, err := mail.ParseAddress(address)
		if err != nil {
			return fmt.Errorf("to: %w", err)
		}
		s.to = append(s.to, to.String())
	}
	if len(s.to) == 0 {
		return errors.New("to: want at least one address")
	}
	return nil
}

// send writes one plain text mail to all recipients; if the server rejects one of them, no
// one gets it.
func (s smtpServer) send(ctx context.Context, m Message) error {
	letter := gomail.NewMsg()
	if err := errors.Join(letter.From(s.from[0]), letter.To(s.to...)); err != nil {
		return err
	}
	letter.Subject("[tally] " + oneLine(m.Subject, maxSubject))
	letter.SetMessageIDWithValue(m.ID + "@" + s.domain)
	letter.SetDateWithValue(m.Time)
	letter.SetGenHeader("Auto-Submitted", "auto-generated")
	letter.SetBodyString(gomail.TypeTextPlain, m.Text)
	client, err := gomail.NewClient(s.host, s.options...)
	if err != nil {
		return err
	}
	return client.DialAndSendWithContext(ctx, letter)
}
