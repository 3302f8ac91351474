package files_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/files"
	"techtalks.example/web-tier/logic"
	"techtalks.example/web-tier/logictest"
)

// The server's own deadline is for pages: a recording may be watched for hours.
func TestWatchingOutlivesTheDeadlineOfPages(t *testing.T) {
	tier := logictest.New(t)
	content := make([]byte, 20<<20) // more than a connection takes at once
	logictest.KeepBytes(tier).Add("recordings/one/original", "video/mp4", "", content)
	out := files.New(tier.Logic.Media, func(*http.Request) logic.Caller { return logic.Caller{} }, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("/recordings/{recording}/{file}", out.Recording)
	served := httptest.NewUnstartedServer(mux)
	served.Config.WriteTimeout = time.Millisecond
	served.Start()
	t.Cleanup(served.Close)
	response, err := http.Get(served.URL + "/recordings/one/original")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n != int64(len(content)) {
		t.Errorf("%d of %d bytes came: %v", n, len(content), err)
	}
}

// At the bound one more is told at once when to come back.
func TestNoMoreWatchersThanThereIsRoomFor(t *testing.T) {
	b, _, _, _ := open(t, 1000)
	held := make(chan struct{})
	b.Logic.Stream(mediapb.Media_ReadFile_FullMethodName, func(stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&mediapb.ReadFileRequest{}); err != nil {
			return err
		}
		held <- struct{}{}
		<-stream.Context().Done()
		return nil
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	refused := make(chan *http.Response, 1)
	for range 2000 {
		go func() {
			request, _ := http.NewRequestWithContext(ctx, http.MethodGet, b.Address()+path, nil)
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
				select {
				case refused <- response:
				default:
				}
			}
		}()
		select {
		case <-held:
		case response := <-refused:
			if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
				t.Errorf("refused with %s, %v", response.Status, response.Header)
			}
			return
		}
	}
	t.Error("there is no bound")
}
