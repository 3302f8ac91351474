package server

import (
	"errors"
	"strconv"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/proto/transport/fairshare"
)

// streams bounds the streams under way. Those that a web tier opens for all its browsers
// have slots of their own: people who send and read files must not take them.
type streams struct {
	bytes     *fairshare.Limiter // by client address, before it is known who asks
	accounts  *fairshare.Limiter // the same streams, by account
	following *fairshare.Limiter
}

func newStreams() *streams {
	return &streams{bytes: fairshare.New(maxStreams), accounts: fairshare.New(maxStreams), following: fairshare.New(maxFollowing)}
}

// enter takes a slot for a stream. Without a session and a client address it is a
// program's own.
func (s *streams) enter(hasSession bool, address string) (release func(), err error) {
	if !hasSession && address == "" {
		release, err = s.following.Acquire()
	} else {
		release, err = s.bytes.Acquire(fairshare.Share{Key: address, Limit: streamsPerAddress})
	}
	return release, streamsRefusal(err)
}

// enterAs counts the stream against the account that opens it.
func (s *streams) enterAs(person *caller.Person) (release func(), err error) {
	if person == nil {
		return func() {}, nil
	}
	release, err = s.accounts.Acquire(fairshare.Share{Key: strconv.FormatInt(person.ID, 10), Limit: streamsPerAccount})
	return release, streamsRefusal(err)
}

func streamsRefusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fairshare.ErrShare):
		return errStreams.RetryIn(retryWhenFull)
	}
	return errFull.RetryIn(retryWhenFull)
}

var errStreams = apperror.New(apperror.Exhausted, "TOO_MANY_STREAMS", "more files are sent and read at the same time by this account, or from this address, than its share; wait until one has finished")
