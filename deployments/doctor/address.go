package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// address is where something listens.
type address struct{ host, port string }

func (a address) String() string { return net.JoinHostPort(a.host, a.port) }

// words reads a list that is separated by commas.
func words(text string) (all []string) {
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	return all
}

// hostPorts reads one host:port or several.
func hostPorts(text string) (all []address, err error) {
	for _, word := range words(text) {
		host, port, err := net.SplitHostPort(word)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("%q is no host:port", word)
		}
		if a := (address{host, port}); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%q names nothing", text)
	}
	return all, nil
}

// logicAddresses reads what a web tier is told of the logic tier: which modules are
// where does not matter here.
func logicAddresses(text string) ([]address, error) {
	var plain []string
	for _, word := range words(text) {
		if _, at, named := strings.Cut(word, "="); named {
			word = at
		}
		plain = append(plain, strings.TrimPrefix(word, "dns:///"))
	}
	return hostPorts(strings.Join(plain, ","))
}

// broker is where RabbitMQ is, and who logs in: nobody but the certificate's owner where
// user is empty.
type broker struct {
	hosts          []address
	secure         bool
	virtualHost    string
	user, password string
}

// parseBroker reads the logic tier's BROKER. Its errors say nothing of a password.
func parseBroker(text string) (b broker, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	port := "5672"
	switch scheme {
	case "amqp":
	case "amqps":
		b.secure, port = true, "5671"
	default:
		return b, fmt.Errorf("it begins with neither amqps:// nor amqp://")
	}
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, err := url.Parse("//" + authority[:at] + "@host")
		if err != nil {
			return b, fmt.Errorf("before the @ is no user:password")
		}
		b.user = user.User.Username()
		b.password, _ = user.User.Password()
		authority = authority[at+1:]
	}
	if b.virtualHost, err = url.PathUnescape(path); err != nil {
		return b, fmt.Errorf("%q is no virtual host", path)
	}
	if b.virtualHost == "" {
		b.virtualHost = "/"
	}
	var hosts []string
	for _, host := range words(authority) {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		hosts = append(hosts, host)
	}
	b.hosts, err = hostPorts(strings.Join(hosts, ","))
	return b, err
}
