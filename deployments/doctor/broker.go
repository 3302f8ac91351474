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

// minRabbitMQVersion is the oldest version, major and minor, that provides the
// guarantees of logic-tier/queue.
var minRabbitMQVersion = [2]int{3, 10}

// checkBrokerHost checks one host of the message broker.
func (s settings) checkBrokerHost(creds credentials, b broker, a address) check {
	address := a.String()
	return func(ctx context.Context) []finding {
		ips, found := s.resolve(ctx, a.host)
		if len(ips) == 0 {
			return found
		}
		port := withDeadline(s.deadline, address, func(ctx context.Context) finding { return checkOpen(ctx, address, a.host) })(ctx)
		found = append(found, port...)
		if !allOK(port) {
			return found
		}
		var checks []check
		if b.useTLS {
			checks = append(checks, s.checkServerCertificate(amqpProtocol, creds, address, a.host, expectation{
				hosts: []string{a.host}, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, fix: "for " + a.host + ", " + certificateFix("broker"),
			}))
		}
		if b.useTLS && b.user == "" { // with a password login, a client certificate is optional
			checks = append(checks, s.checkClientAuth(amqpProtocol, address, a.host, "the broker"))
		}
		return append(found, runParallel(ctx, append(checks, s.checkBrokerLogin(creds, b, a))...)...)
	}
}

// checkBrokerLogin logs in to the broker and checks its version.
func (s settings) checkBrokerLogin(creds credentials, b broker, a address) check {
	return withDeadline(s.deadline, a.String()+", login", func(ctx context.Context) finding {
		if b.useTLS && b.user == "" && creds.pairErr != nil {
			return finding{Verdict: verdictNote, Found: "not tried: no client certificate; see above"}
		}
		target := url.URL{Scheme: "amqp", Host: a.String()}
		config := amqp.Config{
			Vhost: b.virtualHost,
			SASL:  []amqp.Authentication{&amqp.ExternalAuth{}},
			Dial:  func(_, address string) (net.Conn, error) { return dial(ctx, address) },
		}
		if b.user != "" {
			config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: b.user, Password: b.password}}
		}
		if b.useTLS {
			target.Scheme = "amqps"
			config.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.host, RootCAs: creds.roots, Certificates: creds.clientCertificates()}
		}
		conn, err := amqp.DialConfig(target.String(), config)
		if err != nil {
			return finding{Verdict: verdictWrong, Found: err.Error(), Fix: loginFix(err, b)}
		}
		defer conn.Close()
		version, _ := conn.Properties["version"].(string)
		found := fmt.Sprintf("logged in to the virtual host %s of %v %s", b.virtualHost, conn.Properties["product"], version)
		if isOlder(version, minRabbitMQVersion) {
			return finding{Verdict: verdictWrong, Found: found, Fix: fmt.Sprintf("use RabbitMQ %d.%d or later", minRabbitMQVersion[0], minRabbitMQVersion[1])}
		}
		return finding{Verdict: verdictOK, Found: found}
	})
}

// loginFix returns how to fix a failed login.
func loginFix(err error, b broker) string {
	var amqpErr *amqp.Error
	switch {
	case errors.As(err, &amqpErr) && amqpErr.Code == amqp.NotAllowed:
		return fmt.Sprintf("create the virtual host and give %s permissions on it, as in deployments/broker/definitions.json", logicTier)
	case errors.Is(err, amqp.ErrSASL), errors.Is(err, amqp.ErrCredentials):
		return "enable the mechanism EXTERNAL with the user " + logicTier + " from the certificate's common name, as in deployments/broker/rabbitmq.conf; or set user and password in BROKER"
	case b.useTLS:
		return "fix certificates marked above first; otherwise see the broker's log"
	}
	return "see the broker's log"
}

// isOlder reports whether a version is older than a minimum, major and minor.
func isOlder(version string, minimum [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major < minimum[0] || major == minimum[0] && minor < minimum[1])
}
