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

// ErrUnavailable: the data tier does not answer. Nothing is known to have
// changed; idempotent calls may be made again.
var ErrUnavailable = apperror.New(apperror.Unavailable, "DATABASE_UNAVAILABLE", "the database does not answer just now; try again in a moment").RetryIn(time.Second)

// ErrContended: another transaction was in the way for too long.
var ErrContended = apperror.New(apperror.Unavailable, "DATABASE_CONTENDED", "somebody else is changing the same thing; try again").RetryIn(200 * time.Millisecond)

// errText: text that Postgres does not store.
var errText = apperror.New(apperror.Invalid, "TEXT_INVALID", "the text holds characters that cannot be stored, such as NUL; remove them")

// translate turns what lib/pq and database/sql report into failures where
// there is something to do about it.
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
			// Connection exceptions, shutdown, out of connections or disk; a
			// database that is being restored and has no roles yet; or one that
			// has become a standby.
			return ErrUnavailable.Because(err)
		case server.Code == "40001", server.Code == "40P01", server.Code == "55P03":
			return ErrContended.Because(err)
		case server.Code == "22021", server.Code == "22P05":
			return errText.Because(err)
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network), strings.Contains(err.Error(), "connection refused"),
		// What lib/pq says of a host that takes no writes, and of several that do not.
		strings.Contains(err.Error(), "server is in hot standby mode"), strings.Contains(err.Error(), "session is read-only"),
		strings.Contains(err.Error(), "could not connect to any of the hosts"):
		return ErrUnavailable.Because(err)
	}
	return err
}

// Violates says whether err is the violation of a constraint, by its name.
func Violates(err error, constraint string) bool {
	var server *pq.Error
	return errors.As(err, &server) && server.Code.Class() == "23" && server.Constraint == constraint
}
