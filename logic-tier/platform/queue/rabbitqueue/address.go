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

// usage is what an address may look like.
const usage = "use amqps://host:port/vhost to log in by certificate, or amqps://user:password@host:port/vhost; several hosts of one cluster are separated by commas"

// address is where RabbitMQ is and who logs in.
type address struct {
	hosts       []string // host:port, of one cluster
	secure      bool
	virtualHost string
	// user is empty when the certificate says who logs in.
	user, password string
	// certificates is the folder with ca.crt, logic-tier.crt and logic-tier.key.
	certificates string
}

// String never says the password.
func (a address) String() string {
	return fmt.Sprintf("%s://%s/%s", a.scheme(), strings.Join(a.hosts, ","), url.PathEscape(a.virtualHost))
}

func (a address) scheme() string {
	if a.secure {
		return "amqps"
	}
	return "amqp"
}

// parseAddress reads a URL. Its errors say how to write it, and nothing of the
// password.
func parseAddress(text, certificates string) (address, error) {
	a := address{certificates: certificates}
	scheme, rest, _ := strings.Cut(text, "://")
	defaultPort := "5672"
	switch scheme {
	case "amqp":
	case "amqps":
		a.secure, defaultPort = true, "5671"
	default:
		return a, fmt.Errorf("broker URL: it begins with neither amqps:// nor amqp://: %s", usage)
	}
	authority, path, _ := strings.Cut(rest, "/")
	if strings.ContainsAny(rest, "?#") {
		return a, fmt.Errorf("broker URL: it has no parameters, and in a password ? and # are %%3F and %%23: %s", usage)
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, password, hasPassword := strings.Cut(authority[:at], ":")
		var err1, err2 error
		a.user, err1 = url.PathUnescape(user)
		a.password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil || a.user == "" || !hasPassword {
			return a, fmt.Errorf("broker URL: before the @ is no user:password, in which : / @ %% are written as %%3A %%2F %%40 %%25: %s", usage)
		}
		authority = authority[at+1:]
	}
	if a.user == "" && !a.secure {
		return a, fmt.Errorf("broker URL: without TLS nothing says who logs in: %s", usage)
	}
	for host := range strings.SplitSeq(authority, ",") {
		u, err := url.Parse("//" + host)
		if err != nil || u.Hostname() == "" || u.Host != host {
			return a, fmt.Errorf("broker URL: %q is no host or host:port: %s", host, usage)
		}
		port := cmp.Or(u.Port(), defaultPort)
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return a, fmt.Errorf("broker URL: %q has no port from 1 to 65535: %s", host, usage)
		}
		a.hosts = append(a.hosts, net.JoinHostPort(u.Hostname(), port))
	}
	var err error
	if a.virtualHost, err = url.PathUnescape(path); err != nil || strings.Contains(path, "/") {
		return a, fmt.Errorf("broker URL: %q is no virtual host, in whose name / and %% are written as %%2F and %%25: %s", path, usage)
	}
	if a.virtualHost == "" {
		a.virtualHost = "/"
	}
	if a.secure {
		// Read anew for every connection, so that renewed ones are used.
		_, err = a.tls(a.hosts[0])
	}
	return a, err
}

// login is how to say who logs in.
func (a address) login() amqp.Authentication {
	if a.user == "" {
		return &amqp.ExternalAuth{}
	}
	return &amqp.PlainAuth{Username: a.user, Password: a.password}
}

// tls returns how to know a host, and what to show it.
func (a address) tls(host string) (*tls.Config, error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	path := func(file string) string { return filepath.Join(a.certificates, file) }
	own, err := tls.LoadX509KeyPair(path("logic-tier.crt"), path("logic-tier.key"))
	switch {
	case err == nil:
		config.Certificates = []tls.Certificate{own}
	case a.user == "" || !errors.Is(err, os.ErrNotExist):
		return nil, queue.Permanent(fmt.Errorf("certificate for RabbitMQ: %w: make them with deployments/certificates, say with --certificates where they are, or give a user and a password in the broker's URL", err))
	}
	authority, err := os.ReadFile(path("ca.crt"))
	switch {
	case err == nil:
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authority) {
			return nil, queue.Permanent(fmt.Errorf("%s holds no certificate", path("ca.crt")))
		}
	case a.user == "" || !errors.Is(err, os.ErrNotExist):
		return nil, queue.Permanent(fmt.Errorf("authority of RabbitMQ's certificate: %w", err))
	}
	return config, nil
}
