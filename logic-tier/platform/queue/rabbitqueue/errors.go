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

// refusalDelay distinguishes a rejected login from a RabbitMQ that stopped during
// the login. Both close the connection without an error, but RabbitMQ waits 3 s
// before it rejects a login.
const refusalDelay = time.Second

// explainDialError adds the fix to an error of a connection attempt, and marks the
// error as permanent if a retry cannot succeed. elapsed is how long the AMQP
// handshake took.
func (a address) explainDialError(host string, err error, elapsed time.Duration) error {
	permanent := func(format string, arguments ...any) error {
		return queue.Permanent(fmt.Errorf("RabbitMQ at %s "+format+" (%w)", append(append([]any{host}, arguments...), err)...))
	}
	var (
		amqpErr      *amqp.Error
		authorityErr x509.UnknownAuthorityError
		hostnameErr  x509.HostnameError
		invalidErr   x509.CertificateInvalidError
		recordErr    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authorityErr):
		return permanent("has a certificate from another authority: create it with the authority in %s/ca.crt", a.certificates)
	case errors.As(err, &hostnameErr):
		return permanent("has a certificate for other host names: use one of them in the broker URL, or create a certificate for this one (deployments/certificates)")
	case errors.As(err, &invalidErr):
		return permanent("has an invalid certificate: create a new one (deployments/certificates)")
	case errors.As(err, &recordErr):
		return permanent("does not speak TLS on this port: use its TLS port, by default 5671, or amqp:// for this port")
	case isTLSAlert(err):
		return permanent("rejects the certificate %s/logic-tier.crt: create it with the authority that the broker trusts (deployments/certificates)", a.certificates)
	case errors.Is(err, amqp.ErrSASL) && a.user == "":
		return permanent(`does not allow login by certificate: enable its plugin rabbitmq_auth_mechanism_ssl and the mechanism EXTERNAL, or add a user and a password to the broker URL`)
	case errors.Is(err, amqp.ErrSASL):
		return permanent("does not allow login by password: remove user and password from the broker URL to log in by certificate")
	case errors.As(err, &amqpErr):
		refused := amqpErr.Code == amqp.AccessRefused && (amqpErr.Server || elapsed > refusalDelay)
		switch {
		case refused && a.user == "":
			return permanent(`has no user for the certificate %s/logic-tier.crt: add a user named as its common name (rabbitmqctl add_user logic-tier "$(openssl rand -hex 32)"), and set ssl_cert_login_from = common_name`, a.certificates)
		case refused:
			return permanent("rejects the login of user %q: correct user or password in the broker URL (check with rabbitmqctl authenticate_user %s)", a.user, a.user)
		case amqpErr.Code == amqp.NotAllowed && strings.Contains(amqpErr.Reason, "not found"):
			return permanent("has no virtual host %q: add it (rabbitmqctl add_vhost %s), or name another at the end of the broker URL", a.virtualHost, a.virtualHost)
		case amqpErr.Code == amqp.NotAllowed && strings.Contains(amqpErr.Reason, "refused for user") && !strings.Contains(amqpErr.Reason, "limit"):
			return permanent(`denies this user access to the virtual host %q: grant it (rabbitmqctl set_permissions --vhost %s USER ".*" ".*" ".*")`, a.virtualHost, a.virtualHost)
		}
	}
	return fmt.Errorf("RabbitMQ at %s does not answer: check that it is running there: %w", host, err)
}

// explainDeclareError adds the fix to an error of declaring an exchange or a queue,
// and marks the error as permanent if a retry cannot succeed.
func (a address) explainDeclareError(kind, name string, err error) error {
	var amqpErr *amqp.Error
	if errors.As(err, &amqpErr) {
		switch amqpErr.Code {
		case amqp.PreconditionFailed, amqp.ResourceLocked:
			return queue.Permanent(fmt.Errorf("%s %q exists in RabbitMQ and differs from this declaration: delete it there when it is empty (rabbitmqctl delete_queue, or RabbitMQ's management page), or declare another name (%w)", kind, name, err))
		case amqp.AccessRefused:
			return queue.Permanent(fmt.Errorf(`RabbitMQ denies this user %s %q: grant it (rabbitmqctl set_permissions --vhost %s USER ".*" ".*" ".*"), or declare a name that RabbitMQ does not reserve (%w)`, kind, name, a.virtualHost, err))
		}
	}
	return fmt.Errorf("declare %s %q in RabbitMQ: %w", kind, name, err)
}

// isNotFound reports whether RabbitMQ answered that an exchange or a queue does not
// exist.
func isNotFound(err error) bool {
	var amqpErr *amqp.Error
	return errors.As(err, &amqpErr) && amqpErr.Code == amqp.NotFound
}
