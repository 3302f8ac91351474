package rabbitqueue

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
)

// urlUsage describes the accepted URLs.
const urlUsage = "use amqps://host:port/vhost to log in by certificate, or amqps://user:password@host:port/vhost; separate several hosts of one cluster by commas"

// address is a parsed broker URL: RabbitMQ's hosts and the credentials.
type address struct {
	hosts       []string // host:port, of one cluster
	useTLS      bool
	virtualHost string
	// user is empty if the client certificate authenticates this process.
	user, password string
	// certificates is the directory with ca.crt, logic-tier.crt, logic-tier.key.
	certificates string
}

// String returns the URL without its credentials.
func (a address) String() string {
	return fmt.Sprintf("%s://%s/%s", a.scheme(), strings.Join(a.hosts, ","), url.PathEscape(a.virtualHost))
}

func (a address) scheme() string {
	if a.useTLS {
		return "amqps"
	}
	return "amqp"
}

// parseAddress parses a broker URL. Its errors contain the expected syntax, and
// never the password.
func parseAddress(text, certificates string) (address, error) {
	a := address{certificates: certificates}
	scheme, rest, _ := strings.Cut(text, "://")
	defaultPort := "5672"
	switch scheme {
	case "amqp":
	case "amqps":
		a.useTLS, defaultPort = true, "5671"
	default:
		return a, fmt.Errorf("broker URL begins with neither amqps:// nor amqp://: %s", urlUsage)
	}
	authority, path, _ := strings.Cut(rest, "/")
	if strings.ContainsAny(rest, "?#") {
		return a, fmt.Errorf("broker URL must not have parameters; write ? and # in a password as %%3F and %%23: %s", urlUsage)
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, password, hasPassword := strings.Cut(authority[:at], ":")
		var userErr, passwordErr error
		a.user, userErr = url.PathUnescape(user)
		a.password, passwordErr = url.PathUnescape(password)
		if userErr != nil || passwordErr != nil || a.user == "" || !hasPassword {
			return a, fmt.Errorf("broker URL has no valid user:password before the @; write : / @ %% in them as %%3A %%2F %%40 %%25: %s", urlUsage)
		}
		authority = authority[at+1:]
	}
	if a.user == "" && !a.useTLS {
		return a, fmt.Errorf("broker URL without TLS needs a user and a password: %s", urlUsage)
	}
	for host := range strings.SplitSeq(authority, ",") {
		u, err := url.Parse("//" + host)
		if err != nil || u.Hostname() == "" || u.Host != host {
			return a, fmt.Errorf("broker URL: %q is not a host or host:port: %s", host, urlUsage)
		}
		port := cmp.Or(u.Port(), defaultPort)
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return a, fmt.Errorf("broker URL: the port of %q is not from 1 to 65535: %s", host, urlUsage)
		}
		a.hosts = append(a.hosts, net.JoinHostPort(u.Hostname(), port))
	}
	var err error
	if a.virtualHost, err = url.PathUnescape(path); err != nil || strings.Contains(path, "/") {
		return a, fmt.Errorf("broker URL: %q is not a virtual host; write / and %% in its name as %%2F and %%25: %s", path, urlUsage)
	}
	if a.virtualHost == "" {
		a.virtualHost = "/"
	}
	if a.useTLS {
		// Only a check: every connection reads the files again, to use renewed ones.
		_, err = a.tlsConfig(a.hosts[0])
	}
	return a, err
}

// authentication returns the credentials to log in with.
func (a address) authentication() amqp.Authentication {
	if a.user == "" {
		return &amqp.ExternalAuth{}
	}
	return &amqp.PlainAuth{Username: a.user, Password: a.password}
}

// tlsConfig returns the TLS configuration for a connection to host. With a user and
// a password, the certificate files are optional.
func (a address) tlsConfig(host string) (*tls.Config, error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	path := func(file string) string { return filepath.Join(a.certificates, file) }
	certificate, err := tls.LoadX509KeyPair(path("logic-tier.crt"), path("logic-tier.key"))
	switch {
	case err == nil:
		config.Certificates = []tls.Certificate{certificate}
	case a.user == "" || !errors.Is(err, os.ErrNotExist):
		return nil, queue.Permanent(fmt.Errorf("load the client certificate for RabbitMQ: %w: create it with deployments/certificates, name its directory with --certificates, or add a user and a password to the broker URL", err))
	}
	authority, err := os.ReadFile(path("ca.crt"))
	switch {
	case err == nil:
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authority) {
			return nil, queue.Permanent(fmt.Errorf("%s holds no certificate", path("ca.crt")))
		}
	case a.user == "" || !errors.Is(err, os.ErrNotExist):
		return nil, queue.Permanent(fmt.Errorf("load the authority of RabbitMQ's certificate: %w", err))
	}
	return config, nil
}
