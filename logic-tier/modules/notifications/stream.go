package notifications

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/sessions"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// verifyAtOnce bounds the sessions that one stream has verified side by side:
// after a restart a web tier subscribes for all its browsers at once, and other
// calls need the database too.
const verifyAtOnce = 16

// reader is one StreamNotifications call.
type reader struct {
	*Module
	notificationspb.Notifications_StreamNotificationsServer
	stream *stream

	mu            sync.Mutex
	subscriptions map[uint64]*subscription
}

// StreamNotifications follows inboxes; see the contract.
func (s service) StreamNotifications(call notificationspb.Notifications_StreamNotificationsServer) error {
	r := &reader{
		Module: s.module, Notifications_StreamNotificationsServer: call,
		stream: s.module.live.open(), subscriptions: map[uint64]*subscription{},
	}
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.live.close(r.stream, r.subscriptions)
	}()
	received := make(chan error, 1)
	go func() { received <- r.receive() }()
	for {
		select {
		case <-call.Context().Done():
			return call.Context().Err()
		case <-r.live.draining:
			return errDraining
		case err := <-received:
			if !errors.Is(err, io.EOF) {
				return err
			}
			received = nil // the sending side is closed; go on answering
		case <-r.stream.wake:
			for _, response := range r.stream.take() {
				if err := call.Send(response); err != nil {
					return err
				}
			}
		}
	}
}

// receive changes the subscriptions as the reader says.
func (r *reader) receive() error {
	var verifying errgroup.Group
	verifying.SetLimit(verifyAtOnce)
	defer func() { _ = verifying.Wait() }() // verifications report their errors themselves
	for {
		request, err := r.Recv()
		if err != nil {
			return err
		}
		switch change := request.Change.(type) {
		case *notificationspb.StreamNotificationsRequest_Subscribe_:
			s := &subscription{number: change.Subscribe.Subscription, stream: r.stream}
			r.mu.Lock()
			_, taken := r.subscriptions[s.number]
			if !taken {
				r.subscriptions[s.number] = s
			}
			r.mu.Unlock()
			if taken {
				return apperror.InvalidField("SUBSCRIPTION_TAKEN", "subscribe.subscription", "use a number that no other subscription of this stream has")
			}
			verifying.Go(func() error {
				if err := r.begin(s, change.Subscribe.SessionToken); err != nil {
					r.end(s, err)
				}
				return nil
			})
		case *notificationspb.StreamNotificationsRequest_Unsubscribe_:
			r.mu.Lock()
			s := r.subscriptions[change.Unsubscribe.Subscription]
			delete(r.subscriptions, change.Unsubscribe.Subscription)
			r.mu.Unlock()
			if s != nil {
				r.live.unsubscribe(s)
			}
		}
	}
}

// begin finds out whose session it is and makes the subscription live.
func (r *reader) begin(s *subscription, token string) error {
	if token == "" {
		person, signedIn := caller.PersonFrom(r.Context())
		if !signedIn {
			return apperror.New(apperror.Unauthenticated, "SESSION_INVALID", "subscribe with a session")
		}
		// The server ends the call with its session.
		return r.live.subscribe(s, person.ID, func() {})
	}
	answer, err := r.needs.Accounts.VerifySession(r.Context(), &accountspb.VerifySessionRequest{Token: token})
	if err != nil {
		return err
	}
	release := r.needs.Sessions.Add(answer.SessionId, func() { r.revoke(s) })
	return r.live.subscribe(s, answer.Account.Id, release)
}

// revoke ends a subscription whose session ended.
func (r *reader) revoke(s *subscription) {
	r.live.unsubscribe(s)
	r.mu.Lock()
	current := r.subscriptions[s.number] == s
	r.mu.Unlock()
	if current {
		r.end(s, sessions.ErrEnded)
	}
}

// end forgets a subscription and says why.
func (r *reader) end(s *subscription, why error) {
	r.mu.Lock()
	delete(r.subscriptions, s.number)
	r.mu.Unlock()
	reason := "UNAVAILABLE"
	var refused *apperror.Failure
	switch {
	case errors.As(why, &refused) && refused.Kind != apperror.Unavailable:
		reason = refused.Reason
	case status.Code(why) == codes.Unauthenticated:
		reason = "SESSION_INVALID"
	}
	r.stream.push(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Ended_{
		Ended: &notificationspb.StreamNotificationsResponse_Ended{Subscription: s.number, Reason: reason},
	}})
}
