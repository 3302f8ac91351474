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

// maxVerifications bounds the sessions that one stream verifies concurrently; see
// package notifications.
const maxVerifications = 16

type streamService struct {
	operationspb.UnimplementedOperationStreamsServer
	module *Module
}

// stream is one StreamOperations call. Its send buffer is bounded by its
// subscriptions: the latest snapshot of each operation, and the start and end of
// each subscription.
type stream struct {
	*Module
	operationspb.OperationStreams_StreamOperationsServer
	wake chan struct{} // capacity 1; signals that there is something to send

	// hubMu makes a change of the hub's subscribers and of the maps below atomic.
	// mu cannot serve: onChange takes it while the hub's lock is held.
	hubMu sync.Mutex

	mu           sync.Mutex
	operationIDs map[uint64]string          // by subscription; empty until it is verified
	numbers      map[string]map[uint64]bool // subscriptions by operation id
	watches      map[uint64]*watch          // session watches by subscription
	pending      []*operationspb.StreamOperationsResponse
	latest       map[string]*snapshot
	gap          bool
}

// StreamOperations streams changes of operations to a client.
func (s streamService) StreamOperations(call operationspb.OperationStreams_StreamOperationsServer) error {
	st := &stream{
		Module: s.module, OperationStreams_StreamOperationsServer: call, wake: make(chan struct{}, 1),
		operationIDs: map[uint64]string{}, numbers: map[string]map[uint64]bool{}, watches: map[uint64]*watch{}, latest: map[string]*snapshot{},
	}
	received := make(chan error, 1)
	go func() {
		defer st.unsubscribeAll() // after receive, which adds subscriptions
		received <- st.receive()
		<-call.Context().Done()
	}()
	for {
		select {
		case <-call.Context().Done():
			return call.Context().Err()
		case <-st.hub.draining:
			return errDraining
		case err := <-received:
			if !errors.Is(err, io.EOF) {
				return err
			}
			received = nil // the client closed its side; keep sending
		case <-st.wake:
			for _, response := range st.take() {
				if err := call.Send(response); err != nil {
					return err
				}
			}
		}
	}
}

func (st *stream) unsubscribeAll() {
	st.hubMu.Lock()
	defer st.hubMu.Unlock()
	st.mu.Lock()
	for _, w := range st.watches {
		w.release()
	}
	clear(st.watches)
	ids := make([]string, 0, len(st.numbers))
	for id := range st.numbers {
		ids = append(ids, id)
	}
	st.mu.Unlock()
	for _, id := range ids {
		st.hub.unsubscribe(id, st)
	}
}

// receive handles the client's requests until the client closes its side.
func (st *stream) receive() error {
	var verifying errgroup.Group
	verifying.SetLimit(maxVerifications)
	defer func() { _ = verifying.Wait() }() // subscribe errors are sent to the client
	for {
		request, err := st.Recv()
		if err != nil {
			return err
		}
		if unsubscribe := request.GetUnsubscribe(); unsubscribe != nil {
			st.unsubscribe(unsubscribe.Subscription)
			continue
		}
		subscribe := request.GetSubscribe()
		if subscribe == nil {
			continue
		}
		st.mu.Lock()
		_, taken := st.operationIDs[subscribe.Subscription]
		if !taken {
			st.operationIDs[subscribe.Subscription] = ""
		}
		st.mu.Unlock()
		if taken {
			return apperror.InvalidField("SUBSCRIPTION_TAKEN", "subscribe.subscription", "already in use on this stream; use another number")
		}
		verifying.Go(func() error {
			if err := st.subscribe(subscribe); err != nil {
				st.end(subscribe.Subscription, err)
			}
			return nil
		})
	}
}

// subscribe verifies the session and subscribes to the operation if its account is
// allowed to access it.
func (st *stream) subscribe(request *operationspb.StreamOperationsRequest_Subscribe) error {
	id, err := parseName(request.Operation)
	if err != nil {
		return err
	}
	account, session, err := st.authenticate(st.Context(), request.SessionToken)
	if err != nil {
		return err
	}
	if account != caller.AllAccounts {
		if err := st.checkOwner(st.Context(), id, account); err != nil {
			return err
		}
	}
	st.hubMu.Lock()
	defer st.hubMu.Unlock()
	if err := st.hub.subscribe(id, st); err != nil {
		return err
	}
	if !st.activate(request.Subscription, id) {
		st.hub.unsubscribe(id, st)
	}
	st.watch(request.Subscription, session)
	return nil
}

// watch is the session watch of one subscription.
type watch struct{ release func() }

// watch ends an active subscription when its session ends.
func (st *stream) watch(number uint64, session int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, active := st.operationIDs[number]; !active {
		return
	}
	w := &watch{}
	w.release = st.deps.Sessions.Add(session, func() { st.revoke(number, w) })
	st.watches[number] = w
}

// revoke ends a subscription whose session has ended, unless the client has reused
// its number since.
func (st *stream) revoke(number uint64, w *watch) {
	st.mu.Lock()
	current := st.watches[number] == w
	st.mu.Unlock()
	if current {
		st.unsubscribe(number)
		st.end(number, sessions.ErrEnded)
	}
}

// activate confirms a subscription to the client. It reports whether the stream has
// any subscription to the operation: the client may have unsubscribed meanwhile.
func (st *stream) activate(number uint64, id string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, wanted := st.operationIDs[number]; !wanted {
		return len(st.numbers[id]) > 0
	}
	st.operationIDs[number] = id
	if st.numbers[id] == nil {
		st.numbers[id] = map[uint64]bool{}
	}
	st.numbers[id][number] = true
	st.enqueue(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Subscribed_{
		Subscribed: &operationspb.StreamOperationsResponse_Subscribed{Subscription: number},
	}})
	return true
}

// authenticate returns the account and the ID of a session. For an empty token it
// returns the account of the call itself, which the server ends with its session.
func (st *stream) authenticate(ctx context.Context, token string) (account, session int64, err error) {
	if token == "" {
		account, err = caller.Account(ctx)
		return account, 0, err
	}
	response, err := st.deps.Accounts.VerifySession(ctx, &accountspb.VerifySessionRequest{Token: token})
	return response.GetAccount().GetId(), response.GetSessionId(), err
}

func (st *stream) unsubscribe(number uint64) {
	st.hubMu.Lock()
	defer st.hubMu.Unlock()
	st.mu.Lock()
	id := st.operationIDs[number]
	delete(st.operationIDs, number)
	if w := st.watches[number]; w != nil {
		w.release()
		delete(st.watches, number)
	}
	delete(st.numbers[id], number)
	last := id != "" && len(st.numbers[id]) == 0
	if last {
		delete(st.numbers, id)
		delete(st.latest, id)
	}
	st.mu.Unlock()
	if last {
		st.hub.unsubscribe(id, st)
	}
}

// end removes a subscription and sends the client the reason.
func (st *stream) end(number uint64, err error) {
	reason := "UNAVAILABLE"
	var failure *apperror.Failure
	switch {
	case errors.As(err, &failure) && failure.Kind != apperror.Unavailable:
		reason = failure.Reason
	case status.Code(err) == codes.Unauthenticated:
		reason = "SESSION_INVALID"
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.operationIDs, number)
	st.enqueue(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Ended_{
		Ended: &operationspb.StreamOperationsResponse_Ended{Subscription: number, Reason: reason},
	}})
}

// enqueue queues a response about a subscription. The caller holds mu. The queue is
// bounded by the subscriptions: each starts once and ends once.
func (st *stream) enqueue(response *operationspb.StreamOperationsResponse) {
	st.pending = append(st.pending, response)
	st.signal()
}

func (st *stream) onChange(s *snapshot) {
	st.mu.Lock()
	st.latest[s.id] = s
	st.mu.Unlock()
	st.signal()
}

func (st *stream) onGap() {
	st.mu.Lock()
	st.gap = true
	st.mu.Unlock()
	st.signal()
}

func (st *stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// take returns and clears the responses to send.
func (st *stream) take() []*operationspb.StreamOperationsResponse {
	st.mu.Lock()
	defer st.mu.Unlock()
	responses := st.pending
	st.pending = nil
	for id, s := range st.latest {
		changed := &operationspb.StreamOperationsResponse_Changed{Operation: s.message}
		for number := range st.numbers[id] {
			changed.Subscriptions = append(changed.Subscriptions, number)
		}
		if len(changed.Subscriptions) > 0 {
			responses = append(responses, &operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Changed_{Changed: changed}})
		}
	}
	clear(st.latest)
	if st.gap {
		st.gap = false
		responses = append(responses, &operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Gap_{Gap: &operationspb.StreamOperationsResponse_Gap{}}})
	}
	return responses
}
