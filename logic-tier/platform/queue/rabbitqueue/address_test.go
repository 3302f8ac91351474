package rabbitqueue_test

import (
	"slices"
	"strings"
	"testing"

	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
)

func TestBrokerURLIsParsed(t *testing.T) {
	for text, want := range map[string]struct {
		hosts                 []string
		vhost, user, password string
	}{
		"amqp://u:p@h/v":                      {[]string{"h:5672"}, "v", "u", "p"},
		"amqp://u:p@h:1/":                     {[]string{"h:1"}, "/", "u", "p"},
		"amqps://u:p@h":                       {[]string{"h:5671"}, "/", "u", "p"},
		"amqp://u:a%40b%2Fc%3Ad+e@h/%2Fa%2Fb": {[]string{"h:5672"}, "/a/b", "u", "a@b/c:d+e"},
		"amqp://u:p@a:1,b,[::1]:3/v":          {[]string{"a:1", "b:5672", "[::1]:3"}, "v", "u", "p"},
	} {
		hosts, vhost, user, password, err := rabbitqueue.ParseURL(text, "")
		if err != nil || !slices.Equal(hosts, want.hosts) || vhost != want.vhost || user != want.user || password != want.password {
			t.Errorf("%s: got %v %q %q %q, %v, want %+v", text, hosts, vhost, user, password, err, want)
		}
	}
}

func TestInvalidBrokerURLIsRejectedWithoutLeakingItsPassword(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "begins with neither",
		"rabbitmq":                "begins with neither",
		"http://u:secret@h/v":     "begins with neither",
		"amqp://h/v":              "needs a user and a password",
		"amqp://u@h/v":            "no valid user:password",
		"amqp://:secret@h/v":      "no valid user:password",
		"amqp://u:sec%ret@h/v":    "no valid user:password",
		"amqp://u:secret@/v":      "is not a host",
		"amqp://u:secret@h:x/v":   "is not a host",
		"amqp://u:secret@a,,b/v":  "is not a host",
		"amqp://u:secret@h:0/v":   "is not from 1 to 65535",
		"amqp://u:secret@h/v/w":   "is not a virtual host",
		"amqp://u:secret@h/%zz":   "is not a virtual host",
		"amqp://u:secret@h/v?a=b": "must not have parameters",
		"amqps://h/v":             "create it with deployments/certificates",
	} {
		_, _, _, _, err := rabbitqueue.ParseURL(text, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got error %v, want one with %q and without the password", text, err, want)
		}
	}
}
