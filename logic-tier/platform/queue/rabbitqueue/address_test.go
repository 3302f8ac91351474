package rabbitqueue_test

import (
	"slices"
	"strings"
	"testing"

	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
)

func TestABrokerURLSaysWhereAndWho(t *testing.T) {
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
		hosts, vhost, user, password, err := rabbitqueue.CheckURL(text, "")
		if err != nil || !slices.Equal(hosts, want.hosts) || vhost != want.vhost || user != want.user || password != want.password {
			t.Errorf("%s: %v %q %q %q, %v", text, hosts, vhost, user, password, err)
		}
	}
}

func TestABadBrokerURLIsRefusedWithoutItsPassword(t *testing.T) {
	for text, says := range map[string]string{
		"":                        "begins with neither",
		"rabbitmq":                "begins with neither",
		"http://u:secret@h/v":     "begins with neither",
		"amqp://h/v":              "nothing says who logs in",
		"amqp://u@h/v":            "no user:password",
		"amqp://:secret@h/v":      "no user:password",
		"amqp://u:sec%ret@h/v":    "no user:password",
		"amqp://u:secret@/v":      "is no host",
		"amqp://u:secret@h:x/v":   "is no host",
		"amqp://u:secret@a,,b/v":  "is no host",
		"amqp://u:secret@h/v/w":   "is no virtual host",
		"amqp://u:secret@h/%zz":   "is no virtual host",
		"amqp://u:secret@h/v?a=b": "no parameters",
		"amqps://h/v":             "make them with deployments/certificates",
	} {
		_, _, _, _, err := rabbitqueue.CheckURL(text, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want it to say %q", text, err, says)
		}
	}
}
