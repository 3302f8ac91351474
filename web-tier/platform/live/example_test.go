package live

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"google.golang.org/grpc"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// oneItemTier is a logic tier whose inbox has one notification.
type oneItemTier struct{ idleTier }

func (oneItemTier) ListNotifications(_ context.Context, r *notificationspb.ListNotificationsRequest, _ ...grpc.CallOption) (*notificationspb.ListNotificationsResponse, error) {
	response := &notificationspb.ListNotificationsResponse{Cursor: "epoch-1"}
	if r.After == "epoch-0" {
		response.Notifications = []*notificationspb.Notification{{Id: "epoch-1", Title: "On looms"}}
	}
	return response, nil
}

// The three transports side by side, on one cursor.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	inbox, stopped := NewInbox(oneItemTier{}, slog.New(slog.DiscardHandler)), make(chan struct{})
	go func() {
		defer close(stopped)
		_ = inbox.Run(ctx)
	}()
	mux := http.NewServeMux()
	for path, handle := range map[string]func(http.ResponseWriter, *http.Request, string, string){
		"/inbox/since": inbox.Since, "/inbox/wait": inbox.Wait, "/inbox/stream": inbox.Stream,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { handle(w, r, "session", "") })
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	defer func() {
		stop()
		<-stopped
	}()
	get := func(path, header, cursor string) *http.Response {
		request, _ := http.NewRequest(http.MethodGet, server.URL+path, nil)
		request.Header.Set(header, cursor)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(err)
		}
		return response
	}
	poll := func(path, tag string) string {
		response := get(path, "If-None-Match", tag)
		defer response.Body.Close()
		fmt.Println(path, tag, "returns", response.StatusCode, response.Header.Get("ETag"))
		return response.Header.Get("ETag")
	}

	// Short poll.
	tag := poll("/inbox/since", `"epoch-0"`)
	poll("/inbox/since", tag)

	// Long poll.
	tag = poll("/inbox/wait?timeout=25s", `"epoch-0"`)
	poll("/inbox/wait?timeout=0s", tag)

	// Server-sent events.
	stream := get("/inbox/stream", "Last-Event-ID", "epoch-0")
	defer stream.Body.Close()
	for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "id:") {
			fmt.Println("/inbox/stream epoch-0 sends", lines.Text())
			break
		}
	}

	// Output:
	// /inbox/since "epoch-0" returns 200 "epoch-1"
	// /inbox/since "epoch-1" returns 304 "epoch-1"
	// /inbox/wait?timeout=25s "epoch-0" returns 200 "epoch-1"
	// /inbox/wait?timeout=0s "epoch-1" returns 204 "epoch-1"
	// /inbox/stream epoch-0 sends id: epoch-1
}
