package live

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/web-tier/platform/logictest"
)

// testTimeout limits every wait.
const testTimeout = 3 * time.Minute

const epoch = "epoch"

// fakeInbox is a logic tier with one inbox.
type fakeInbox struct {
	t    *testing.T
	tier *logictest.Tier

	mu                  sync.Mutex
	items               []*notificationspb.Notification // items[n] has the sequence n+1
	subscriptions       map[uint64]bool
	stream              grpc.ServerStream
	cancel              context.CancelFunc
	failReads           int    // how many reads to fail
	rejectSubscriptions int    // how many to reject with a transient reason
	duringRead          func() // called once, between reading and returning a page
}

func newFakeInbox(t *testing.T) *fakeInbox {
	t.Helper()
	inbox := &fakeInbox{t: t, tier: logictest.New(t), subscriptions: map[uint64]bool{}}
	logictest.Answer(inbox.tier, notificationspb.Notifications_GetInbox_FullMethodName,
		func(context.Context, *notificationspb.GetInboxRequest) (*notificationspb.GetInboxResponse, error) {
			inbox.mu.Lock()
			defer inbox.mu.Unlock()
			return &notificationspb.GetInboxResponse{Cursor: cursor{epoch, int64(len(inbox.items))}.String()}, nil
		})
	logictest.Answer(inbox.tier, notificationspb.Notifications_ListNotifications_FullMethodName, inbox.list)
	inbox.tier.Stream(notificationspb.Notifications_StreamNotifications_FullMethodName, inbox.serve)
	return inbox
}

func (inbox *fakeInbox) list(_ context.Context, r *notificationspb.ListNotificationsRequest) (*notificationspb.ListNotificationsResponse, error) {
	inbox.mu.Lock()
	if inbox.failReads > 0 {
		inbox.failReads--
		inbox.mu.Unlock()
		return nil, logictest.Refusal(codes.Unavailable, "DATABASE_UNAVAILABLE", "the database is unavailable")
	}
	response := &notificationspb.ListNotificationsResponse{}
	latest := cursor{epoch, int64(len(inbox.items))}
	after, ok := parseCursor(r.After)
	switch {
	case !ok:
		response.Reset_ = &notificationspb.Reset{Reason: notificationspb.Reset_REASON_MALFORMED, Cursor: latest.String()}
		response.Cursor = latest.String()
	case after.epoch != epoch:
		response.Reset_ = &notificationspb.Reset{Reason: notificationspb.Reset_REASON_OTHER_EPOCH, Cursor: latest.String()}
		response.Cursor = latest.String()
	default:
		response.Notifications = inbox.items[after.sequence:min(after.sequence+int64(r.PageSize), latest.sequence)]
		end := after.sequence + int64(len(response.Notifications))
		response.Cursor, response.More = cursor{epoch, end}.String(), end < latest.sequence
	}
	duringRead := inbox.duringRead
	inbox.duringRead = nil
	inbox.mu.Unlock()
	if duringRead != nil {
		duringRead()
	}
	return response, nil
}

func (inbox *fakeInbox) serve(stream grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	inbox.mu.Lock()
	inbox.stream, inbox.cancel, inbox.subscriptions = stream, cancel, map[uint64]bool{}
	inbox.mu.Unlock()
	requests := make(chan *notificationspb.StreamNotificationsRequest)
	go func() {
		defer cancel()
		for {
			request := &notificationspb.StreamNotificationsRequest{}
			if stream.RecvMsg(request) != nil {
				return
			}
			select {
			case requests <- request:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return logictest.Refusal(codes.Unavailable, "DRAINING", "the server is shutting down")
		case request := <-requests:
			inbox.handle(request)
		}
	}
}

func (inbox *fakeInbox) handle(request *notificationspb.StreamNotificationsRequest) {
	inbox.mu.Lock()
	defer inbox.mu.Unlock()
	if unsubscribe := request.GetUnsubscribe(); unsubscribe != nil {
		delete(inbox.subscriptions, unsubscribe.Subscription)
		return
	}
	id := request.GetSubscribe().Subscription
	if request.GetSubscribe().SessionToken != logictest.Session {
		inbox.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Ended_{
			Ended: &notificationspb.StreamNotificationsResponse_Ended{Subscription: id, Reason: errSessionInvalid.Reason}}})
		return
	}
	if inbox.rejectSubscriptions > 0 {
		inbox.rejectSubscriptions--
		inbox.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Ended_{
			Ended: &notificationspb.StreamNotificationsResponse_Ended{Subscription: id, Reason: "DATABASE_UNAVAILABLE"}}})
		return
	}
	inbox.subscriptions[id] = true
	inbox.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
		Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: id}}})
}

// send sends an event. The caller holds the lock, since a stream sends one message at a
// time.
func (inbox *fakeInbox) send(event *notificationspb.StreamNotificationsResponse) {
	if inbox.stream != nil {
		_ = inbox.stream.SendMsg(event) // serve notices a failed stream
	}
}

// deliver adds an item and sends it to the subscribers.
func (inbox *fakeInbox) deliver(title string) {
	inbox.mu.Lock()
	defer inbox.mu.Unlock()
	item := &notificationspb.Notification{Id: cursor{epoch, int64(len(inbox.items)) + 1}.String(), Title: title}
	inbox.items = append(inbox.items, item)
	arrived := &notificationspb.StreamNotificationsResponse_Arrived{Notification: item}
	for id := range inbox.subscriptions {
		arrived.Subscriptions = append(arrived.Subscriptions, id)
	}
	if len(arrived.Subscriptions) > 0 {
		inbox.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{Arrived: arrived}})
	}
}

// addSilently adds an item without sending it.
func (inbox *fakeInbox) addSilently(title string) {
	inbox.mu.Lock()
	defer inbox.mu.Unlock()
	inbox.items = append(inbox.items, &notificationspb.Notification{Id: cursor{epoch, int64(len(inbox.items)) + 1}.String(), Title: title})
}

func (inbox *fakeInbox) sendGap() {
	inbox.mu.Lock()
	defer inbox.mu.Unlock()
	inbox.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Gap_{Gap: &notificationspb.StreamNotificationsResponse_Gap{}}})
}

func (inbox *fakeInbox) subscriberCount() int {
	inbox.mu.Lock()
	defer inbox.mu.Unlock()
	return len(inbox.subscriptions)
}

// breakStream fails the stream to the web tier.
func (inbox *fakeInbox) breakStream() {
	inbox.mu.Lock()
	inbox.subscriptions, inbox.stream = map[uint64]bool{}, nil
	cancel := inbox.cancel
	inbox.mu.Unlock()
	cancel()
}

func waitUntil(t *testing.T, event string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", event)
		}
	}
}

// testServer serves a feed over HTTP.
type testServer struct {
	*Feed
	url string
}

func serveInbox(t *testing.T, inbox *fakeInbox) *testServer {
	t.Helper()
	return serveFeed(t, NewInbox(inbox.tier.Logic.Notifications, slog.New(slog.DiscardHandler)), "")
}

// serveFeed serves short polls of a feed at /since, long polls at /wait, and streams
// elsewhere.
func serveFeed(t *testing.T, feed *Feed, key string) *testServer {
	t.Helper()
	w := &testServer{Feed: feed}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = w.Run(ctx)
	}()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		session := cmp.Or(r.Header.Get("Session"), logictest.Session)
		key := cmp.Or(r.Header.Get("Key"), key)
		switch r.URL.Path {
		case "/since":
			// Short polls do not extend the server's deadline themselves.
			_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(testTimeout))
			w.Since(rw, r, session, key)
		case "/wait":
			w.Wait(rw, r, session, key)
		default:
			w.Stream(rw, r, session, key)
		}
	}))
	// Shorter than any stream here: streams and long polls must override it.
	server.Config.WriteTimeout = time.Millisecond
	server.Start()
	w.url = server.URL
	t.Cleanup(func() {
		stop()
		<-stopped
		server.Close()
	})
	return w
}

// event is a server-sent event, or a field on its own (retry, id).
type event struct{ id, name, data, retry string }

// browser reads a stream.
type browser struct {
	t          *testing.T
	response   *http.Response
	lines      *bufio.Reader
	disconnect context.CancelFunc
}

func (w *testServer) open(t *testing.T, lastEventID string, headers ...string) *browser {
	t.Helper()
	ctx, disconnect := context.WithCancel(context.Background())
	t.Cleanup(disconnect)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return &browser{t, response, bufio.NewReader(response.Body), disconnect}
}

// next returns the next event, or io.EOF when the stream has ended.
func (b *browser) next() (e event, err error) {
	timer := time.AfterFunc(testTimeout, b.disconnect)
	defer timer.Stop()
	for {
		line, err := b.lines.ReadString('\n')
		if err != nil {
			if err == io.EOF {
				return e, io.EOF
			}
			return e, fmt.Errorf("reading the stream: %w", err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "":
			if e != (event{}) {
				return e, nil
			}
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "retry":
			e.retry = value
		}
	}
}

// titles reads n notifications and returns their titles.
func (b *browser) titles(n int) (titles []string) {
	b.t.Helper()
	for len(titles) < n {
		e, err := b.next()
		if err != nil {
			b.t.Fatalf("after %v: %v", titles, err)
		}
		if e.name == "notification" {
			_, title, _ := strings.Cut(e.data, `"title":`)
			titles = append(titles, strings.Split(title, `"`)[1])
		}
	}
	return titles
}
