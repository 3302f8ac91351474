package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// address is a host and a port.
type address struct{ host, port string }

func (a address) String() string { return net.JoinHostPort(a.host, a.port) }

// splitList splits a list at commas, without spaces and empty elements.
func splitList(text string) (elements []string) {
	for element := range strings.SplitSeq(text, ",") {
		if element = strings.TrimSpace(element); element != "" {
			elements = append(elements, element)
		}
	}
	return elements
}

// parseAddresses parses one or several host:port and removes duplicates.
func parseAddresses(text string) (addresses []address, err error) {
	for _, element := range splitList(text) {
		host, port, err := net.SplitHostPort(element)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("%q is not host:port", element)
		}
		if a := (address{host, port}); !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("no address in %q", text)
	}
	return addresses, nil
}

// parseLogicAddresses parses the LOGIC_ADDRESS of a web tier, ignoring which modules an address
// serves.
func parseLogicAddresses(text string) ([]address, error) {
	var addresses []string
	for _, element := range splitList(text) {
		if _, target, ok := strings.Cut(element, "="); ok {
			element = target
		}
		addresses = append(addresses, strings.TrimPrefix(element, "dns:///"))
	}
	return parseAddresses(strings.Join(addresses, ","))
}

// broker is the addresses and the login of RabbitMQ. Without a user, the login uses the
// certificate.
type broker struct {
	hosts          []address
	useTLS         bool
	virtualHost    string
	user, password string
}

// parseBroker parses the logic tier's BROKER. Its errors do not contain the password.
func parseBroker(text string) (b broker, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	port := "5672"
	switch scheme {
	case "amqp":
	case "amqps":
		b.useTLS, port = true, "5671"
	default:
		return b, errors.New("it must begin with amqps:// or amqp://")
	}
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		login, err := url.Parse("//" + authority[:i] + "@host")
		if err != nil {
			return b, errors.New("the part before @ is not user:password")
		}
		b.user = login.User.Username()
		b.password, _ = login.User.Password()
		authority = authority[i+1:]
	}
	if b.virtualHost, err = url.PathUnescape(path); err != nil {
		return b, fmt.Errorf("invalid virtual host %q", path)
	}
	if b.virtualHost == "" {
		b.virtualHost = "/"
	}
	var hosts []string
	for _, host := range splitList(authority) {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		hosts = append(hosts, host)
	}
	b.hosts, err = parseAddresses(strings.Join(hosts, ","))
	return b, err
}
