package operations

import (
	"context"
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
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// verifyAtOnce bounds the sessions that one stream has verified side by side; see
// package notifications.
const verifyAtOnce = 16

type streamService struct {
	operationspb.UnimplementedOperationStreamsServer
	module *Module
}

// reader is one StreamOperations call. What waits for it is bounded by what it
// subscribed to: of each operation the latest, and what became of each
// subscription.
type reader struct {
	*Module
	operationspb.OperationStreams_StreamOperationsServer
	wake chan struct{} // capacity 1: it says "look"

	// order is held while an operation is begun or ceased to be followed together
	// with what is known of it here. Not mu: changed is called with the lock of
	// live held, and takes mu.
	order sync.Mutex

	mu            sync.Mutex
	subscriptions map[uint64]string          // to operation ids; empty while it is verified
	numbers       map[string]map[uint64]bool // and back
	watches       map[uint64]*watch          // over the sessions of subscriptions
	said          []*operationspb.StreamOperationsResponse
	latest        map[string]*snapshot
	gap           bool
}

// StreamOperations follows operations; see the contract.
func (s streamService) StreamOperations(call operationspb.OperationStreams_StreamOperationsServer) error {
	r := &reader{
		Module: s.module, OperationStreams_StreamOperationsServer: call, wake: make(chan struct{}, 1),
		subscriptions: map[uint64]string{}, numbers: map[string]map[uint64]bool{}, watches: map[uint64]*watch{}, latest: map[string]*snapshot{},
	}
	received := make(chan error, 1)
	go func() {
		defer r.leave() // when nothing is subscribed any more
		received <- r.receive()
		<-call.Context().Done()
	}()
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
		case <-r.wake:
			for _, response := range r.take() {
				if err := call.Send(response); err != nil {
					return err
				}
			}
		}
	}
}

// leave ends all subscriptions.
func (r *reader) leave() {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	for _, w := range r.watches {
		w.release()
	}
	clear(r.watches)
	ids := make([]string, 0, len(r.numbers))
	for id := range r.numbers {
		ids = append(ids, id)
	}
	r.mu.Unlock()
	for _, id := range ids {
		r.live.unfollow(id, r)
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
		if ended := request.GetUnsubscribe(); ended != nil {
			r.unsubscribe(ended.Subscription)
			continue
		}
		asked := request.GetSubscribe()
		if asked == nil {
			continue
		}
		r.mu.Lock()
		_, taken := r.subscriptions[asked.Subscription]
		if !taken {
			r.subscriptions[asked.Subscription] = ""
		}
		r.mu.Unlock()
		if taken {
			return apperror.InvalidField("SUBSCRIPTION_TAKEN", "subscribe.subscription", "use a number that no other subscription of this stream has")
		}
		verifying.Go(func() error {
			if err := r.subscribe(asked); err != nil {
				r.end(asked.Subscription, err)
			}
			return nil
		})
	}
}

// subscribe finds out whose session it is, and has the operation followed when it
// is theirs.
func (r *reader) subscribe(asked *operationspb.StreamOperationsRequest_Subscribe) error {
	id, err := parseName(asked.Operation)
	if err != nil {
		return err
	}
	whose, session, err := r.account(r.Context(), asked.SessionToken)
	if err != nil {
		return err
	}
	if whose != caller.AllAccounts {
		if err := r.ownedBy(r.Context(), id, whose); err != nil {
			return err
		}
	}
	r.order.Lock()
	defer r.order.Unlock()
	if err := r.live.follow(id, r); err != nil {
		return err
	}
	if !r.note(asked.Subscription, id) {
		r.live.unfollow(id, r)
	}
	r.watch(asked.Subscription, session)
	return nil
}

// watch is a watch over the session of one subscription.
type watch struct{ release func() }

// watch ends a live subscription when its session does.
func (r *reader) watch(number uint64, session int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, live := r.subscriptions[number]; !live {
		return
	}
	w := &watch{}
	w.release = r.needs.Sessions.Add(session, func() { r.revoke(number, w) })
	r.watches[number] = w
}

// revoke ends a subscription whose session ended, unless the number is another
// subscription's by now.
func (r *reader) revoke(number uint64, of *watch) {
	r.mu.Lock()
	current := r.watches[number] == of
	r.mu.Unlock()
	if current {
		r.unsubscribe(number)
		r.end(number, sessions.ErrEnded)
	}
}

// note keeps what a subscription follows, and says that it is live. It returns
// false when nobody wants the operation: it was unsubscribed meanwhile.
func (r *reader) note(number uint64, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, wanted := r.subscriptions[number]; !wanted {
		return len(r.numbers[id]) > 0
	}
	r.subscriptions[number] = id
	if r.numbers[id] == nil {
		r.numbers[id] = map[uint64]bool{}
	}
	r.numbers[id][number] = true
	r.say(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Subscribed_{
		Subscribed: &operationspb.StreamOperationsResponse_Subscribed{Subscription: number},
	}})
	return true
}

// account returns whose a session is, and its number; of an empty one, who made the
// call, which the server ends with its session.
func (r *reader) account(ctx context.Context, token string) (account, session int64, err error) {
	if token == "" {
		account, err = caller.Account(ctx)
		return account, 0, err
	}
	answer, err := r.needs.Accounts.VerifySession(ctx, &accountspb.VerifySessionRequest{Token: token})
	return answer.GetAccount().GetId(), answer.GetSessionId(), err
}

func (r *reader) unsubscribe(number uint64) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	id := r.subscriptions[number]
	delete(r.subscriptions, number)
	if w := r.watches[number]; w != nil {
		w.release()
		delete(r.watches, number)
	}
	delete(r.numbers[id], number)
	last := id != "" && len(r.numbers[id]) == 0
	if last {
		delete(r.numbers, id)
		delete(r.latest, id)
	}
	r.mu.Unlock()
	if last {
		r.live.unfollow(id, r)
	}
}

// end forgets a subscription and says why.
func (r *reader) end(number uint64, why error) {
	reason := "UNAVAILABLE"
	var refused *apperror.Failure
	switch {
	case errors.As(why, &refused) && refused.Kind != apperror.Unavailable:
		reason = refused.Reason
	case status.Code(why) == codes.Unauthenticated:
		reason = "SESSION_INVALID"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subscriptions, number)
	r.say(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Ended_{
		Ended: &operationspb.StreamOperationsResponse_Ended{Subscription: number, Reason: reason},
	}})
}

// say is called with the lock held. What is said of subscriptions is bounded by
// their number: each is said to begin once, and to end once.
func (r *reader) say(response *operationspb.StreamOperationsResponse) {
	r.said = append(r.said, response)
	r.look()
}

func (r *reader) changed(s *snapshot) {
	r.mu.Lock()
	r.latest[s.id] = s
	r.mu.Unlock()
	r.look()
}

func (r *reader) missed() {
	r.mu.Lock()
	r.gap = true
	r.mu.Unlock()
	r.look()
}

func (r *reader) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns what there is to send.
func (r *reader) take() []*operationspb.StreamOperationsResponse {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.said
	r.said = nil
	for id, s := range r.latest {
		changed := &operationspb.StreamOperationsResponse_Changed{Operation: s.message}
		for number := range r.numbers[id] {
			changed.Subscriptions = append(changed.Subscriptions, number)
		}
		if len(changed.Subscriptions) > 0 {
			all = append(all, &operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Changed_{Changed: changed}})
		}
	}
	clear(r.latest)
	if r.gap {
		r.gap = false
		all = append(all, &operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Gap_{Gap: &operationspb.StreamOperationsResponse_Gap{}}})
	}
	return all
}
