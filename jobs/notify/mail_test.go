package notify

import (
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	gomail "github.com/wneessen/go-mail"
)

// mailServer is an SMTP server that takes mails, or rejects each recipient with a code.
func mailServer(t *testing.T, reject int) (address string, mails <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	received := make(chan string, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go session(textproto.NewConn(conn), reject, received)
		}
	}()
	return listener.Addr().String(), received
}

func session(c *textproto.Conn, reject int, received chan<- string) {
	defer c.Close()
	_ = c.PrintfLine("220 test")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch {
		case verb == "RCPT" && reject != 0:
			_ = c.PrintfLine("%d no such user", reject)
		case verb == "DATA":
			_ = c.PrintfLine("354 go on")
			text, _ := io.ReadAll(c.DotReader())
			received <- string(text)
			_ = c.PrintfLine("250 taken")
		case verb == "QUIT":
			_ = c.PrintfLine("221 bye")
			return
		default:
			_ = c.PrintfLine("250 ok")
		}
	}
}

func mailChannel(t *testing.T, address string) Channel {
	t.Helper()
	channels, err := Config{Mail: Mail{SMTP: Secret("smtp://" + address), From: "Tally <tally@example.com>", To: []string{"ann@example.com", "bob@example.com"}}}.Channels()
	require.NoError(t, err)
	require.Len(t, channels, 1)
	return channels[0]
}

// A file's name can hold what would be a header, and is text.
func TestMail(t *testing.T) {
	t.Parallel()
	address, mails := mailServer(t, 0)
	at := time.Date(2024, 5, 11, 0, 0, 0, 0, time.UTC)
	name := "Zür.csv\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<eve@example.com>" + strings.Repeat("x", 1200)
	require.NoError(t, mailChannel(t, address).Send(t.Context(), Message{ID: "msg_1", Type: "file.failed", Time: at, Subject: name, Text: name}))
	received, err := mail.ReadMessage(strings.NewReader(<-mails))
	require.NoError(t, err)
	assert.Empty(t, received.Header.Get("Bcc"))
	assert.Equal(t, "<msg_1@example.com>", received.Header.Get("Message-ID"))
	assert.Equal(t, "auto-generated", received.Header.Get("Auto-Submitted"))
	subject, err := new(mime.WordDecoder).DecodeHeader(received.Header.Get("Subject"))
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(subject, "[tally] Zür.csv  Bcc: eve@example.com    .  MAIL FROM"), subject)
	assert.Less(t, len(subject), 200)
	body, err := io.ReadAll(quotedprintable.NewReader(received.Body))
	require.NoError(t, err)
	assert.Equal(t, strings.ReplaceAll(name, "\r\n", "\n"), strings.TrimSpace(string(body)), "the reader of the test server ends lines with LF")
	assert.Empty(t, mails, "one mail")
}

func TestMailRejected(t *testing.T) {
	t.Parallel()
	for _, code := range []int{450, 550} {
		address, mails := mailServer(t, code)
		err := mailChannel(t, address).Send(t.Context(), Message{ID: "msg_1", Subject: "x", Text: "x"})
		require.ErrorContains(t, err, fmt.Sprint(code))
		assert.Empty(t, mails)
	}
}

// A password is not sent without TLS.
func TestMailPasswordNeedsTLS(t *testing.T) {
	t.Parallel()
	server, err := Mail{SMTP: "smtp://ann:hunter2@mail.example.com", From: "a@b.c", To: []string{"d@e.f"}}.server()
	require.NoError(t, err)
	address, _ := mailServer(t, 0)
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	server.host = host
	server.options = append(server.options, withPort(t, port))
	err = server.send(t.Context(), Message{ID: "msg_1", Subject: "x", Text: "x"})
	require.ErrorContains(t, err, "STARTTLS")
	assert.NotContains(t, err.Error(), "hunter2")
}

func withPort(t *testing.T, port string) gomail.Option {
	t.Helper()
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return gomail.WithPort(n)
}
