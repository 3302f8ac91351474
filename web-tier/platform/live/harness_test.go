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

// patience bounds every wait.
const patience = 3 * time.Minute

const epoch = "epoch"

// inbox is a stand-in for Ada's inbox in the logic tier: what is in it, and who
// follows it.
type inbox struct {
	t    *testing.T
	tier *logictest.Tier

	mu         sync.Mutex
	items      []*notificationspb.Notification // item n has the sequence n+1
	followers  map[uint64]bool
	stream     grpc.ServerStream
	drop       context.CancelFunc
	failReads  int
	refuse     int    // subscriptions, for a reason that passes
	whileRead  func() // called once, after a page was read and before it is sent
	unfollowed int
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{t: t, tier: logictest.New(t), followers: map[uint64]bool{}}
	logictest.Answer(in.tier, notificationspb.Notifications_GetInbox_FullMethodName,
		func(context.Context, *notificationspb.GetInboxRequest) (*notificationspb.GetInboxResponse, error) {
			in.mu.Lock()
			defer in.mu.Unlock()
			return &notificationspb.GetInboxResponse{Cursor: cursor{epoch, int64(len(in.items))}.String()}, nil
		})
	logictest.Answer(in.tier, notificationspb.Notifications_ListNotifications_FullMethodName, in.list)
	in.tier.Stream(notificationspb.Notifications_StreamNotifications_FullMethodName, in.follow)
	return in
}

func (in *inbox) list(_ context.Context, r *notificationspb.ListNotificationsRequest) (*notificationspb.ListNotificationsResponse, error) {
	in.mu.Lock()
	if in.failReads > 0 {
		in.failReads--
		in.mu.Unlock()
		return nil, logictest.Refusal(codes.Unavailable, "DATABASE_UNAVAILABLE", "not just now")
	}
	answer := &notificationspb.ListNotificationsResponse{}
	now := cursor{epoch, int64(len(in.items))}
	after, ok := parseCursor(r.After)
	switch {
	case !ok:
		answer.Reset_ = &notificationspb.Reset{Reason: notificationspb.Reset_REASON_MALFORMED, Cursor: now.String()}
		answer.Cursor = now.String()
	case after.epoch != epoch:
		answer.Reset_ = &notificationspb.Reset{Reason: notificationspb.Reset_REASON_OTHER_EPOCH, Cursor: now.String()}
		answer.Cursor = now.String()
	default:
		answer.Notifications = in.items[after.sequence:min(after.sequence+int64(r.PageSize), now.sequence)]
		end := after.sequence + int64(len(answer.Notifications))
		answer.Cursor, answer.More = cursor{epoch, end}.String(), end < now.sequence
	}
	meanwhile := in.whileRead
	in.whileRead = nil
	in.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	return answer, nil
}

func (in *inbox) follow(stream grpc.ServerStream) error {
	ctx, drop := context.WithCancel(stream.Context())
	defer drop()
	in.mu.Lock()
	in.stream, in.drop, in.followers = stream, drop, map[uint64]bool{}
	in.mu.Unlock()
	requests := make(chan *notificationspb.StreamNotificationsRequest)
	go func() {
		defer drop()
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
			return logictest.Refusal(codes.Unavailable, "DRAINING", "the server stops")
		case request := <-requests:
			in.change(request)
		}
	}
}

func (in *inbox) change(request *notificationspb.StreamNotificationsRequest) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if ended := request.GetUnsubscribe(); ended != nil {
		delete(in.followers, ended.Subscription)
		in.unfollowed++
		return
	}
	number := request.GetSubscribe().Subscription
	if request.GetSubscribe().SessionToken != logictest.Session {
		in.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Ended_{
			Ended: &notificationspb.StreamNotificationsResponse_Ended{Subscription: number, Reason: errSessionInvalid.Reason}}})
		return
	}
	if in.refuse > 0 {
		in.refuse--
		in.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Ended_{
			Ended: &notificationspb.StreamNotificationsResponse_Ended{Subscription: number, Reason: "DATABASE_UNAVAILABLE"}}})
		return
	}
	in.followers[number] = true
	in.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
		Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: number}}})
}

// send is called with the lock held: a stream takes one message at a time.
func (in *inbox) send(event *notificationspb.StreamNotificationsResponse) {
	if in.stream != nil {
		_ = in.stream.SendMsg(event) // an end is seen by follow
	}
}

// arrive adds an item and tells who follows.
func (in *inbox) arrive(title string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	item := &notificationspb.Notification{Id: cursor{epoch, int64(len(in.items)) + 1}.String(), Title: title}
	in.items = append(in.items, item)
	arrived := &notificationspb.StreamNotificationsResponse_Arrived{Notification: item}
	for number := range in.followers {
		arrived.Subscriptions = append(arrived.Subscriptions, number)
	}
	if len(arrived.Subscriptions) > 0 {
		in.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{Arrived: arrived}})
	}
}

// miss adds an item that nobody is told of.
func (in *inbox) miss(title string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.items = append(in.items, &notificationspb.Notification{Id: cursor{epoch, int64(len(in.items)) + 1}.String(), Title: title})
}

func (in *inbox) gap() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Gap_{Gap: &notificationspb.StreamNotificationsResponse_Gap{}}})
}

func (in *inbox) following() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.followers)
}

// loseStream ends the stream to the web tier.
func (in *inbox) loseStream() {
	in.mu.Lock()
	in.followers, in.stream = map[uint64]bool{}, nil
	drop := in.drop
	in.mu.Unlock()
	drop()
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}

// web is the web tier's side: live over a server of its own.
type web struct {
	*Feed
	url string
}

func newWeb(t *testing.T, in *inbox) *web {
	t.Helper()
	return serve(t, NewInbox(in.tier.Logic.Notifications, slog.New(slog.DiscardHandler)), "")
}

// serve serves a feed: its stream, and the polls at /since and /wait.
func serve(t *testing.T, feed *Feed, key string) *web {
	t.Helper()
	w := &web{Feed: feed}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = w.Run(ctx)
	}()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		session := cmp.Or(r.Header.Get("Session"), logictest.Session)
		key := cmp.Or(r.Header.Get("Key"), key)
		switch r.URL.Path {
		case "/since":
			// A short poll is a request like any other: the server's deadlines hold.
			_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(patience))
			w.Since(rw, r, session, key)
		case "/wait":
			w.Wait(rw, r, session, key)
		default:
			w.Stream(rw, r, session, key)
		}
	}))
	// Far shorter than any stream here lives: none may be subject to it.
	server.Config.WriteTimeout = time.Millisecond
	server.Start()
	w.url = server.URL
	t.Cleanup(func() {
		stop()
		<-ran
		server.Close()
	})
	return w
}

// event is one server-sent event; a field alone (retry, id) is one too.
type event struct{ id, name, data, retry string }

// browser is a stream as a browser reads it.
type browser struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Reader
	leave    context.CancelFunc
}

func (w *web) open(t *testing.T, lastEventID string, headers ...string) *browser {
	t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	t.Cleanup(leave)
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
	return &browser{t, response, bufio.NewReader(response.Body), leave}
}

// next returns the next event; io.EOF when the stream ended.
func (b *browser) next() (e event, err error) {
	timer := time.AfterFunc(patience, b.leave)
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

// titles reads events until that many notifications came, and returns their
// titles.
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
