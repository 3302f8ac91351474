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

// oneTalk is a logic tier whose inbox has one item.
type oneTalk struct{ still }

func (oneTalk) ListNotifications(_ context.Context, r *notificationspb.ListNotificationsRequest, _ ...grpc.CallOption) (*notificationspb.ListNotificationsResponse, error) {
	answer := &notificationspb.ListNotificationsResponse{Cursor: "epoch-1"}
	if r.After == "epoch-0" {
		answer.Notifications = []*notificationspb.Notification{{Id: "epoch-1", Title: "On looms"}}
	}
	return answer, nil
}

// The three ways side by side, on one cursor.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	inbox, ran := NewInbox(oneTalk{}, slog.New(slog.DiscardHandler)), make(chan struct{})
	go func() {
		defer close(ran)
		_ = inbox.Run(ctx)
	}()
	site := http.NewServeMux()
	for path, way := range map[string]func(http.ResponseWriter, *http.Request, string, string){
		"/inbox/since": inbox.Since, "/inbox/wait": inbox.Wait, "/inbox/stream": inbox.Stream,
	} {
		site.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { way(w, r, "session", "") })
	}
	server := httptest.NewServer(site)
	defer server.Close()
	defer func() {
		stop()
		<-ran
	}()
	ask := func(path, header, cursor string) *http.Response {
		request, _ := http.NewRequest(http.MethodGet, server.URL+path, nil)
		request.Header.Set(header, cursor)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(err)
		}
		return response
	}
	poll := func(path, tag string) string {
		response := ask(path, "If-None-Match", tag)
		defer response.Body.Close()
		fmt.Println(path, tag, "answers", response.StatusCode, response.Header.Get("ETag"))
		return response.Header.Get("ETag")
	}

	// Ask now and then.
	tag := poll("/inbox/since", `"epoch-0"`)
	poll("/inbox/since", tag)

	// Ask, and wait for an answer.
	tag = poll("/inbox/wait?timeout=25s", `"epoch-0"`)
	poll("/inbox/wait?timeout=0s", tag)

	// Ask once, and go on listening.
	stream := ask("/inbox/stream", "Last-Event-ID", "epoch-0")
	defer stream.Body.Close()
	for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "id:") {
			fmt.Println("/inbox/stream epoch-0 sends", lines.Text())
			break
		}
	}

	// Output:
	// /inbox/since "epoch-0" answers 200 "epoch-1"
	// /inbox/since "epoch-1" answers 304 "epoch-1"
	// /inbox/wait?timeout=25s "epoch-0" answers 200 "epoch-1"
	// /inbox/wait?timeout=0s "epoch-1" answers 204 "epoch-1"
	// /inbox/stream epoch-0 sends id: epoch-1
}
