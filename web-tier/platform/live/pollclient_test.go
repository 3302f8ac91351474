package live

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// reply is what a poll was answered.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// try polls a path until ctx ends.
func (w *web) try(ctx context.Context, path string, headers ...string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, body}, err
}

func (w *web) get(t *testing.T, path string, headers ...string) reply {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	got, err := w.try(ctx, path, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// begin polls beside the test; the reply, or why there is none, comes over the
// channel.
func (w *web) begin(ctx context.Context, path string, headers ...string) <-chan reply {
	there := make(chan reply, 1)
	go func() {
		got, err := w.try(ctx, path, headers...)
		if err != nil {
			got.body = fmt.Append(nil, err)
		}
		there <- got
	}()
	return there
}

func awaitReply(t *testing.T, there <-chan reply) reply {
	t.Helper()
	select {
	case got := <-there:
		return got
	case <-time.After(patience):
		t.Fatal("the poll is not answered")
		return reply{}
	}
}

func decode[T any, M interface {
	*T
	proto.Message
}](t *testing.T, r reply) M {
	t.Helper()
	message := M(new(T))
	if r.status != http.StatusOK || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("answered %d %s %.300s", r.status, r.header.Get("Content-Type"), r.body)
	}
	if err := protojson.Unmarshal(r.body, message); err != nil {
		t.Fatalf("%v in %.300s", err, r.body)
	}
	return message
}

// items reads the items of a poll.
func items(t *testing.T, r reply) (titles []string, answer *notificationspb.ListNotificationsResponse) {
	t.Helper()
	answer = decode[notificationspb.ListNotificationsResponse](t, r)
	for _, n := range answer.Notifications {
		titles = append(titles, n.Title)
	}
	return titles, answer
}

// problem reads a problem's reason (RFC 9457).
func problem(t *testing.T, r reply, status int, reason string) {
	t.Helper()
	var said struct {
		Status         int
		Reason, Detail string
	}
	if r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %d %s %.200s", r.status, r.header.Get("Content-Type"), r.body)
		return
	}
	if err := json.Unmarshal(r.body, &said); err != nil {
		t.Error(err)
	}
	if r.status != status || said.Status != status || said.Reason != reason || said.Detail == "" {
		t.Errorf("answered %d %s, want %d %s", r.status, r.body, status, reason)
	}
}

// record answers a request without a server.
func record(answer http.HandlerFunc, path string, headers ...string) reply {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	answer(recorder, request)
	return reply{recorder.Code, recorder.Header(), recorder.Body.Bytes()}
}
