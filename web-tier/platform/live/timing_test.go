package live

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// still is a logic tier in which nothing happens, for tests in which time is not
// real: it subscribes, or does not even that.
type still struct {
	notificationspb.NotificationsClient
	deaf bool
}

func (s still) StreamNotifications(ctx context.Context, _ ...grpc.CallOption) (notificationspb.Notifications_StreamNotificationsClient, error) {
	return &stillStream{ctx: ctx, deaf: s.deaf, subscribed: make(chan uint64, 1)}, nil
}

func (still) ListNotifications(context.Context, *notificationspb.ListNotificationsRequest, ...grpc.CallOption) (*notificationspb.ListNotificationsResponse, error) {
	return &notificationspb.ListNotificationsResponse{Cursor: "epoch-1"}, nil
}

type stillStream struct {
	notificationspb.Notifications_StreamNotificationsClient
	ctx        context.Context
	deaf       bool
	subscribed chan uint64
}

func (s *stillStream) Send(r *notificationspb.StreamNotificationsRequest) error {
	if r.GetSubscribe() != nil && !s.deaf {
		s.subscribed <- r.GetSubscribe().Subscription
	}
	return nil
}

func (s *stillStream) Recv() (*notificationspb.StreamNotificationsResponse, error) {
	select {
	case number := <-s.subscribed:
		return &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
			Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: number}}}, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// recorded is a browser's connection, with the time of each write.
type recorded struct {
	*httptest.ResponseRecorder
	began    time.Time
	beats    []time.Duration
	deadline time.Time
}

func (c *recorded) SetWriteDeadline(at time.Time) error {
	c.deadline = at
	return nil
}

func (c *recorded) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte(":")) {
		c.beats = append(c.beats, time.Since(c.began))
	}
	if !c.deadline.After(time.Now()) {
		return 0, context.DeadlineExceeded
	}
	return c.ResponseRecorder.Write(b)
}

// open keeps a stream open until it ends by itself, and returns how long it
// lived.
func open(t *testing.T, client notificationspb.NotificationsClient) (*recorded, time.Duration) {
	t.Helper()
	i := NewInbox(client, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = i.Run(ctx)
	}()
	c := &recorded{ResponseRecorder: httptest.NewRecorder(), began: time.Now()}
	request := httptest.NewRequest(http.MethodGet, "/inbox/stream", nil)
	request.Header.Set("Last-Event-ID", "epoch-1")
	i.Stream(c, request, "session", "")
	lived := time.Since(c.began)
	stop()
	<-ran
	return c, lived
}

// Proxies close what is idle: a silent stream says that it lives. It does not
// live for ever, and not all of them end together.
func TestASilentStreamBeatsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lives := map[time.Duration]bool{}
		for range 10 {
			c, lived := open(t, still{})
			if lived < minLife || lived > maxLife {
				t.Errorf("it lived for %v", lived)
			}
			lives[lived] = true
			if want := int(lived / heartbeat); len(c.beats) < want-1 || len(c.beats) > want {
				t.Errorf("in %v it beat %d times, want %d", lived, len(c.beats), want)
			}
			if body := c.Body.String(); !strings.HasSuffix(body, "retry: 500\n\n") {
				t.Errorf("it ends with %q", body[max(0, len(body)-40):])
			}
		}
		if len(lives) < 5 {
			t.Errorf("they end together: %v", lives)
		}
	})
}

func TestWithoutALogicTierABrowserIsSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, waited := open(t, still{deaf: true})
		if waited != subscribeTimeout {
			t.Errorf("it waited for %v", waited)
		}
		if c.Code != http.StatusOK || !strings.HasPrefix(c.Body.String(), "retry: ") {
			t.Errorf("answered %d %q", c.Code, c.Body)
		}
	})
}
