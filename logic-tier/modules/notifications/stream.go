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

// maxConcurrentVerifications bounds the sessions that one stream verifies concurrently.
// After a restart a web tier subscribes for all its browsers at once; the bound leaves
// database connections for other calls.
const maxConcurrentVerifications = 16

// reader handles one StreamNotifications call.
type reader struct {
	*Module
	notificationspb.Notifications_StreamNotificationsServer
	stream *stream

	mu            sync.Mutex
	subscriptions map[uint64]*subscription
}

// StreamNotifications implements the RPC; see the contract.
func (s service) StreamNotifications(call notificationspb.Notifications_StreamNotificationsServer) error {
	r := &reader{
		Module: s.module, Notifications_StreamNotificationsServer: call,
		stream: s.module.hub.open(), subscriptions: map[uint64]*subscription{},
	}
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hub.close(r.stream, r.subscriptions)
	}()
	received := make(chan error, 1)
	go func() { received <- r.receive() }()
	for {
		select {
		case <-call.Context().Done():
			return call.Context().Err()
		case <-r.hub.draining:
			return errDraining
		case err := <-received:
			if !errors.Is(err, io.EOF) {
				return err
			}
			received = nil // the client closed its sending side; continue to send
		case <-r.stream.wake:
			for _, response := range r.stream.take() {
				if err := call.Send(response); err != nil {
					return err
				}
			}
		}
	}
}

// receive applies the client's subscribe and unsubscribe requests until the client
// closes its sending side.
func (r *reader) receive() error {
	var verifying errgroup.Group
	verifying.SetLimit(maxConcurrentVerifications)
	defer func() { _ = verifying.Wait() }() // a failed verification ends its own subscription
	for {
		request, err := r.Recv()
		if err != nil {
			return err
		}
		switch change := request.Change.(type) {
		case *notificationspb.StreamNotificationsRequest_Subscribe_:
			s := &subscription{number: change.Subscribe.Subscription, stream: r.stream}
			r.mu.Lock()
			_, exists := r.subscriptions[s.number]
			if !exists {
				r.subscriptions[s.number] = s
			}
			r.mu.Unlock()
			if exists {
				return apperror.InvalidField("SUBSCRIPTION_TAKEN", "subscribe.subscription", "use a number that no other subscription of this stream has")
			}
			verifying.Go(func() error {
				if err := r.subscribe(s, change.Subscribe.SessionToken); err != nil {
					r.endSubscription(s, err)
				}
				return nil
			})
		case *notificationspb.StreamNotificationsRequest_Unsubscribe_:
			r.mu.Lock()
			s := r.subscriptions[change.Unsubscribe.Subscription]
			delete(r.subscriptions, change.Unsubscribe.Subscription)
			r.mu.Unlock()
			if s != nil {
				r.hub.unsubscribe(s)
			}
		}
	}
}

// subscribe verifies the session and subscribes to its account's inbox.
func (r *reader) subscribe(s *subscription, token string) error {
	if token == "" {
		person, signedIn := caller.PersonFrom(r.Context())
		if !signedIn {
			return apperror.New(apperror.Unauthenticated, "SESSION_INVALID", "the subscription has no session; send a session token")
		}
		// The server ends the whole call when its session ends.
		return r.hub.subscribe(s, person.ID, func() {})
	}
	response, err := r.deps.Accounts.VerifySession(r.Context(), &accountspb.VerifySessionRequest{Token: token})
	if err != nil {
		return err
	}
	release := r.deps.Sessions.Add(response.SessionId, func() { r.revoke(s) })
	return r.hub.subscribe(s, response.Account.Id, release)
}

// revoke ends a subscription after its session has ended.
func (r *reader) revoke(s *subscription) {
	r.hub.unsubscribe(s)
	r.mu.Lock()
	current := r.subscriptions[s.number] == s
	r.mu.Unlock()
	if current {
		r.endSubscription(s, sessions.ErrEnded)
	}
}

// endSubscription removes a subscription and sends the client the reason.
func (r *reader) endSubscription(s *subscription, cause error) {
	r.mu.Lock()
	delete(r.subscriptions, s.number)
	r.mu.Unlock()
	reason := "UNAVAILABLE"
	var failure *apperror.Failure
	switch {
	case errors.As(cause, &failure) && failure.Kind != apperror.Unavailable:
		reason = failure.Reason
	case status.Code(cause) == codes.Unauthenticated:
		reason = "SESSION_INVALID"
	}
	r.stream.push(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Ended_{
		Ended: &notificationspb.StreamNotificationsResponse_Ended{Subscription: s.number, Reason: reason},
	}})
}
