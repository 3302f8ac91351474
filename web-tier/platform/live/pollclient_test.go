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

// pollResponse is the answer to a poll.
type pollResponse struct {
	status int
	header http.Header
	body   []byte
}

// tryGet requests a path until ctx is done.
func (w *testServer) tryGet(ctx context.Context, path string, headers ...string) (pollResponse, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return pollResponse{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return pollResponse{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return pollResponse{response.StatusCode, response.Header, body}, err
}

func (w *testServer) get(t *testing.T, path string, headers ...string) pollResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	got, err := w.tryGet(ctx, path, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// getAsync requests a path in the background. The channel receives the response, or one
// whose body is the error.
func (w *testServer) getAsync(ctx context.Context, path string, headers ...string) <-chan pollResponse {
	responses := make(chan pollResponse, 1)
	go func() {
		got, err := w.tryGet(ctx, path, headers...)
		if err != nil {
			got.body = fmt.Append(nil, err)
		}
		responses <- got
	}()
	return responses
}

func awaitResponse(t *testing.T, responses <-chan pollResponse) pollResponse {
	t.Helper()
	select {
	case got := <-responses:
		return got
	case <-time.After(testTimeout):
		t.Fatal("timed out waiting for the poll's response")
		return pollResponse{}
	}
}

func decode[T any, M interface {
	*T
	proto.Message
}](t *testing.T, r pollResponse) M {
	t.Helper()
	message := M(new(T))
	if r.status != http.StatusOK || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %d %s %.300s, want 200 and JSON", r.status, r.header.Get("Content-Type"), r.body)
	}
	if err := protojson.Unmarshal(r.body, message); err != nil {
		t.Fatalf("decoding %.300s: %v", r.body, err)
	}
	return message
}

// decodeItems returns the response to a poll of an inbox, and its titles.
func decodeItems(t *testing.T, r pollResponse) (titles []string, list *notificationspb.ListNotificationsResponse) {
	t.Helper()
	list = decode[notificationspb.ListNotificationsResponse](t, r)
	for _, n := range list.Notifications {
		titles = append(titles, n.Title)
	}
	return titles, list
}

// checkProblem checks the status and reason of problem details (RFC 9457).
func checkProblem(t *testing.T, r pollResponse, status int, reason string) {
	t.Helper()
	var details struct {
		Status         int
		Reason, Detail string
	}
	if r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s %.200s, want problem details", r.status, r.header.Get("Content-Type"), r.body)
		return
	}
	if err := json.Unmarshal(r.body, &details); err != nil {
		t.Error(err)
	}
	if r.status != status || details.Status != status || details.Reason != reason || details.Detail == "" {
		t.Errorf("got %d %s, want %d %s", r.status, r.body, status, reason)
	}
}

// record calls a handler without a server.
func record(handler http.HandlerFunc, path string, headers ...string) pollResponse {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	handler(recorder, request)
	return pollResponse{recorder.Code, recorder.Header(), recorder.Body.Bytes()}
}
