package server

import (
	"errors"
	"strconv"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/proto/transport/fairshare"
)

// streams limits concurrent streams. Streams that web tiers open on behalf of all their
// browsers have slots of their own, which uploads and downloads cannot take.
type streams struct {
	byAddress *fairshare.Limiter // uploads and downloads, before authentication
	byAccount *fairshare.Limiter // the same streams, after authentication
	programs  *fairshare.Limiter
}

func newStreams() *streams {
	return &streams{byAddress: fairshare.New(maxStreams), byAccount: fairshare.New(maxStreams), programs: fairshare.New(maxProgramStreams)}
}

// acquire acquires a slot for a stream. A stream without session and client address is
// one that a program opens for itself.
func (s *streams) acquire(hasSession bool, address string) (release func(), err error) {
	if !hasSession && address == "" {
		release, err = s.programs.Acquire()
	} else {
		release, err = s.byAddress.Acquire(fairshare.Share{Key: address, Limit: streamsPerAddress})
	}
	return release, streamsError(err)
}

// acquireForAccount counts the stream against the account that opens it.
func (s *streams) acquireForAccount(person *caller.Person) (release func(), err error) {
	if person == nil {
		return func() {}, nil
	}
	release, err = s.byAccount.Acquire(fairshare.Share{Key: strconv.FormatInt(person.ID, 10), Limit: streamsPerAccount})
	return release, streamsError(err)
}

func streamsError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fairshare.ErrShare):
		return errTooManyStreams.RetryIn(busyRetryDelay)
	}
	return errBusy.RetryIn(busyRetryDelay)
}

var errTooManyStreams = apperror.New(apperror.Exhausted, "TOO_MANY_STREAMS", "too many concurrent uploads and downloads from this account or address; wait until one has finished")
