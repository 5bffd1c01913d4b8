package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/opentax/tally/jobs/notify"
)

type notifyCmd struct {
	Test bool `help:"Send a test message through each channel now."`
	JSON bool `help:"Print one JSON document."`
}

// tried is the outcome of a test message.
type tried struct {
	Channel   string `json:"channel"`
	Target    string `json:"target"`
	Delivered bool   `json:"delivered"`
	Error     string `json:"error,omitempty"`
}

func (cmd notifyCmd) Run(ctx context.Context, env *environment) error {
	if !cmd.Test {
		return usageError{errors.New("notify: nothing to do without --test")}
	}
	settings, err := env.loadConfig()
	if err != nil {
		return err
	}
	channels, err := settings.jobs.Notify.Channels()
	if err != nil {
		return err
	}
	if len(channels) == 0 {
		return usageError{errors.New("notify: no channel is configured: set notify, webhook or notify, mail in the settings file")}
	}
	list, failed := []tried{}, false
	for _, c := range channels {
		t := tried{Channel: c.Name, Target: c.Target, Delivered: true}
		if err := c.Send(ctx, notify.TestMessage("msg_test_"+rand.Text(), time.Now())); err != nil {
			t.Delivered, t.Error, failed = false, err.Error(), true
		}
		list = append(list, t)
	}
	if err := cmd.print(env, list); err != nil {
		return err
	}
	if failed {
		return errFailed
	}
	return nil
}

func (cmd notifyCmd) print(env *environment, list []tried) error {
	if cmd.JSON {
		return writeJSON(env.stdout, map[string][]tried{"channels": list})
	}
	for _, t := range list {
		if t.Delivered {
			fmt.Fprintf(env.stdout, "%s to %s: delivered\n", t.Channel, t.Target)
		} else {
			fmt.Fprintf(env.stdout, "%s\n", t.Error)
		}
	}
	return nil
}

// expandSecrets replaces a secret of the form ${NAME} by the environment variable NAME.
func expandSecrets(c *notify.Config) error {
	variable := regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)
	for _, secret := range []*notify.Secret{&c.Webhook.URL, &c.Webhook.Secret, &c.Mail.SMTP} {
		name := variable.FindStringSubmatch(string(*secret))
		if name == nil {
			continue
		}
		value := os.Getenv(name[1])
		if value == "" {
			return fmt.Errorf("the environment variable %s is not set", name[1])
		}
		*secret = notify.Secret(value)
	}
	return nil
}

// redactSecrets removes secrets from the lines of the settings file that an error shows.
func redactSecrets(err error) error {
	const value = `("[^"]*"?|'[^']*'?|[^\s,}]+)`
	text := regexp.MustCompile(`\b((?:secret|smtp|url)["']?\s*:\s*)`+value).ReplaceAllString(err.Error(), "${1}…")
	text = regexp.MustCompile(`whsec_[^\s"',}]+`).ReplaceAllString(text, "whsec_…")
	text = regexp.MustCompile(`(smtps?://)[^\s]*@`).ReplaceAllString(text, "${1}…@")
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
