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

// idleTier is a logic tier without events, for tests in synthetic time. It confirms
// subscriptions unless it is unresponsive.
type idleTier struct {
	notificationspb.NotificationsClient
	unresponsive bool
}

func (t idleTier) StreamNotifications(ctx context.Context, _ ...grpc.CallOption) (notificationspb.Notifications_StreamNotificationsClient, error) {
	return &idleStream{ctx: ctx, unresponsive: t.unresponsive, subscribed: make(chan uint64, 1)}, nil
}

func (idleTier) ListNotifications(context.Context, *notificationspb.ListNotificationsRequest, ...grpc.CallOption) (*notificationspb.ListNotificationsResponse, error) {
	return &notificationspb.ListNotificationsResponse{Cursor: "epoch-1"}, nil
}

type idleStream struct {
	notificationspb.Notifications_StreamNotificationsClient
	ctx          context.Context
	unresponsive bool
	subscribed   chan uint64
}

func (s *idleStream) Send(r *notificationspb.StreamNotificationsRequest) error {
	if r.GetSubscribe() != nil && !s.unresponsive {
		s.subscribed <- r.GetSubscribe().Subscription
	}
	return nil
}

func (s *idleStream) Recv() (*notificationspb.StreamNotificationsResponse, error) {
	select {
	case id := <-s.subscribed:
		return &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
			Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: id}}}, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// timedRecorder is a browser's connection that records the time of each heartbeat.
type timedRecorder struct {
	*httptest.ResponseRecorder
	start      time.Time
	heartbeats []time.Duration
	deadline   time.Time
}

func (c *timedRecorder) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

func (c *timedRecorder) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte(":")) {
		c.heartbeats = append(c.heartbeats, time.Since(c.start))
	}
	if !c.deadline.After(time.Now()) {
		return 0, context.DeadlineExceeded
	}
	return c.ResponseRecorder.Write(b)
}

// serveStream serves a stream until it ends by itself, and returns its lifetime.
func serveStream(t *testing.T, client notificationspb.NotificationsClient) (*timedRecorder, time.Duration) {
	t.Helper()
	inbox := NewInbox(client, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = inbox.Run(ctx)
	}()
	c := &timedRecorder{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
	request := httptest.NewRequest(http.MethodGet, "/inbox/stream", nil)
	request.Header.Set("Last-Event-ID", "epoch-1")
	inbox.Stream(c, request, "session", "")
	life := time.Since(c.start)
	stop()
	<-stopped
	return c, life
}

// Proxies close idle connections, hence the heartbeats. Streams end after a random time.
func TestIdleStreamSendsHeartbeatsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lives := map[time.Duration]bool{}
		for range 10 {
			c, life := serveStream(t, idleTier{})
			if life < minStreamLife || life > maxStreamLife {
				t.Errorf("stream life: got %v, want %v to %v", life, minStreamLife, maxStreamLife)
			}
			lives[life] = true
			if want := int(life / heartbeatInterval); len(c.heartbeats) < want-1 || len(c.heartbeats) > want {
				t.Errorf("in %v: got %d heartbeats, want %d", life, len(c.heartbeats), want)
			}
			if body := c.Body.String(); !strings.HasSuffix(body, "retry: 500\n\n") {
				t.Errorf("got final bytes %q, want a retry of 500 ms", body[max(0, len(body)-40):])
			}
		}
		if len(lives) < 5 {
			t.Errorf("10 streams have only these lives: %v", lives)
		}
	})
}

func TestStreamClosesWithRetryWhenLogicTierIsUnresponsive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, waited := serveStream(t, idleTier{unresponsive: true})
		if waited != subscribeTimeout {
			t.Errorf("waited %v, want %v", waited, subscribeTimeout)
		}
		if c.Code != http.StatusOK || !strings.HasPrefix(c.Body.String(), "retry: ") {
			t.Errorf("got %d %q, want 200 and a retry", c.Code, c.Body)
		}
	})
}
