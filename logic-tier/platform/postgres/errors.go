package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/apperror"
)

// ErrUnavailable is returned when the data tier does not answer. It is unknown whether a
// commit in flight took effect; idempotent calls can be retried.
var ErrUnavailable = apperror.New(apperror.Unavailable, "DATABASE_UNAVAILABLE", "database unavailable; try again in a moment").RetryIn(time.Second)

// ErrContended is returned on a serialization failure, deadlock or lock timeout.
var ErrContended = apperror.New(apperror.Unavailable, "DATABASE_CONTENDED", "the data is being changed by another request; try again").RetryIn(200 * time.Millisecond)

// errInvalidText is returned for text that Postgres cannot store.
var errInvalidText = apperror.New(apperror.Invalid, "TEXT_INVALID", "the text contains characters that cannot be stored, such as NUL; remove them")

// translate converts errors of lib/pq and database/sql to failures where the caller can
// react to them.
func translate(err error) error {
	var server *pq.Error
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnavailable):
		return err
	case errors.As(err, &server):
		switch class := string(server.Code.Class()); {
		case server.Code == "57014": // query_canceled: by our own deadline, or by statement_timeout
			return errors.Join(context.DeadlineExceeded, err)
		case class == "08", class == "57", class == "53", server.Code == "28000", server.Code == "3D000", server.Code == "25006":
			// Connection exceptions, shutdown, too many connections, disk full; a
			// database being restored that has no roles yet; or a primary demoted
			// to a standby.
			return ErrUnavailable.Because(err)
		case server.Code == "40001", server.Code == "40P01", server.Code == "55P03":
			return ErrContended.Because(err)
		case server.Code == "22021", server.Code == "22P05":
			return errInvalidText.Because(err)
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network), strings.Contains(err.Error(), "connection refused"),
		// lib/pq's errors if a host accepts no writes, and if none of several does.
		strings.Contains(err.Error(), "server is in hot standby mode"), strings.Contains(err.Error(), "session is read-only"),
		strings.Contains(err.Error(), "could not connect to any of the hosts"):
		return ErrUnavailable.Because(err)
	}
	return err
}

// Violates reports whether err is a violation of the named constraint.
func Violates(err error, constraint string) bool {
	var server *pq.Error
	return errors.As(err, &server) && server.Code.Class() == "23" && server.Constraint == constraint
}
