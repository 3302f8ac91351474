package rabbitqueue

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
)

// refusalPause tells a refusal from a RabbitMQ that went down while somebody
// logged in: both hang up without a word, but it makes those whom it refuses wait
// for 3 s before.
const refusalPause = time.Second

// explain says what to do about a connection that was not made, and marks what no
// waiting mends.
func (a address) explain(host string, err error, took time.Duration) error {
	permanent := func(what string, arguments ...any) error {
		return queue.Permanent(fmt.Errorf("RabbitMQ at %s "+what+" (%w)", append(append([]any{host}, arguments...), err)...))
	}
	var (
		said      *amqp.Error
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return permanent("shows a certificate of another authority: let the broker's be made by the one in %s/ca.crt", a.certificates)
	case errors.As(err, &hostname):
		return permanent("shows a certificate for other names: use one of them in the broker's URL, or have its certificate made anew with this one (deployments/certificates)")
	case errors.As(err, &invalid):
		return permanent("shows a certificate that is not valid: have it made anew (deployments/certificates)")
	case errors.As(err, &record):
		return permanent("does not speak TLS on this port: use its TLS port, by default 5671, or amqp:// for this one")
	case isAlert(err):
		return permanent("refuses the certificate %s/logic-tier.crt: let it be made by the authority that the broker knows (deployments/certificates)", a.certificates)
	case errors.Is(err, amqp.ErrSASL) && a.user == "":
		return permanent(`lets nobody log in by certificate: switch on its plugin rabbitmq_auth_mechanism_ssl and the mechanism EXTERNAL, or give a user and a password in the broker's URL`)
	case errors.Is(err, amqp.ErrSASL):
		return permanent("lets nobody log in by password: leave user and password out of the broker's URL, so that the certificate says who logs in")
	case errors.As(err, &said):
		refused := said.Code == amqp.AccessRefused && (said.Server || took > refusalPause)
		switch {
		case refused && a.user == "":
			return permanent(`knows no user by the certificate %s/logic-tier.crt: add one named as its common name is (rabbitmqctl add_user logic-tier "$(openssl rand -hex 32)"), and set ssl_cert_login_from = common_name`, a.certificates)
		case refused:
			return permanent("refuses the user %q: mend user or password in the broker's URL (rabbitmqctl authenticate_user %s)", a.user, a.user)
		case said.Code == amqp.NotAllowed && strings.Contains(said.Reason, "not found"):
			return permanent("has no virtual host %q: add it (rabbitmqctl add_vhost %s), or name another at the end of the broker's URL", a.virtualHost, a.virtualHost)
		case said.Code == amqp.NotAllowed && strings.Contains(said.Reason, "refused for user") && !strings.Contains(said.Reason, "limit"):
			return permanent(`does not let this user into the virtual host %q: allow it (rabbitmqctl set_permissions --vhost %s USER ".*" ".*" ".*")`, a.virtualHost, a.virtualHost)
		}
	}
	return fmt.Errorf("RabbitMQ at %s does not answer: see whether it runs there: %w", host, err)
}

// explainDeclaring says what to do about something that RabbitMQ does not let be
// declared.
func (a address) explainDeclaring(what, name string, err error) error {
	var said *amqp.Error
	if errors.As(err, &said) {
		switch said.Code {
		case amqp.PreconditionFailed, amqp.ResourceLocked:
			return queue.Permanent(fmt.Errorf("%s %q is there in RabbitMQ and differs from what this program declares: delete it there when it is empty (rabbitmqctl delete_queue, or RabbitMQ's management page), or declare another name (%w)", what, name, err))
		case amqp.AccessRefused:
			return queue.Permanent(fmt.Errorf(`RabbitMQ does not let this user have %s %q: allow it (rabbitmqctl set_permissions --vhost %s USER ".*" ".*" ".*"), or declare a name that is not RabbitMQ's own (%w)`, what, name, a.virtualHost, err))
		}
	}
	return fmt.Errorf("declare %s %q in RabbitMQ: %w", what, name, err)
}
