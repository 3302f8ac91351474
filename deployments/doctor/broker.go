package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// oldestRabbitMQ is the oldest version, major and minor, whose queues do what
// logic-tier/queue promises.
var oldestRabbitMQ = [2]int{3, 10}

// brokerHost looks at one host of the message broker.
func (s settings) brokerHost(own credentials, b broker, a address) check {
	at := a.String()
	return func(ctx context.Context) []finding {
		ips, found := s.resolve(ctx, a.host)
		if len(ips) == 0 {
			return found
		}
		reached := within(s.deadline, at, func(ctx context.Context) finding { return open(ctx, at, a.host) })(ctx)
		found = append(found, reached...)
		if !well(reached) {
			return found
		}
		var all []check
		if b.secure {
			all = append(all, s.presented(amqpWire, own, at, a.host, expected{
				hosts: []string{a.host}, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, remedy: "for " + a.host + ", " + remedy("broker"),
			}))
		}
		if b.secure && b.user == "" { // with a password, it need not demand one
			all = append(all, s.demands(amqpWire, at, a.host, "the broker"))
		}
		return append(found, sideBySide(ctx, append(all, s.brokerLogin(own, b, a))...)...)
	}
}

func (s settings) brokerLogin(own credentials, b broker, a address) check {
	return within(s.deadline, a.String()+", login", func(ctx context.Context) finding {
		if b.secure && b.user == "" && own.pairErr != nil {
			return finding{Verdict: noted, Found: "not tried: there is no certificate to show; see above"}
		}
		target := url.URL{Scheme: "amqp", Host: a.String()}
		config := amqp.Config{
			Vhost: b.virtualHost,
			SASL:  []amqp.Authentication{&amqp.ExternalAuth{}},
			Dial:  func(_, at string) (net.Conn, error) { return dial(ctx, at) },
		}
		if b.user != "" {
			config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: b.user, Password: b.password}}
		}
		if b.secure {
			target.Scheme = "amqps"
			config.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.host, RootCAs: own.roots, Certificates: own.present()}
		}
		conn, err := amqp.DialConfig(target.String(), config)
		if err != nil {
			return finding{Verdict: wrong, Found: err.Error(), Fix: loginFix(err, b)}
		}
		defer conn.Close()
		version, _ := conn.Properties["version"].(string)
		found := fmt.Sprintf("logged in to the virtual host %s of %v %s", b.virtualHost, conn.Properties["product"], version)
		if older(version, oldestRabbitMQ) {
			return finding{Verdict: wrong, Found: found, Fix: fmt.Sprintf("use RabbitMQ %d.%d or later", oldestRabbitMQ[0], oldestRabbitMQ[1])}
		}
		return finding{Verdict: fine, Found: found}
	})
}

func loginFix(err error, b broker) string {
	var said *amqp.Error
	switch {
	case errors.As(err, &said) && said.Code == amqp.NotAllowed:
		return fmt.Sprintf("make the virtual host there and give %s permissions on it, as deployments/broker/definitions.json does", logicTier)
	case errors.Is(err, amqp.ErrSASL), errors.Is(err, amqp.ErrCredentials):
		return "have the broker take the mechanism EXTERNAL, the user " + logicTier + " from the certificate's common name, as deployments/broker/rabbitmq.conf does; or name user and password in BROKER"
	case b.secure:
		return "if a certificate is wrong above, mend that first; else see the broker's log"
	}
	return "see the broker's log"
}

func older(version string, than [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major < than[0] || major == than[0] && minor < than[1])
}
