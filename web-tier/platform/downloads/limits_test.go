package downloads_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/platform/downloads"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/logictest"
)

// The server's write deadline is for pages. Watching a recording can take hours.
func TestDownloadOutlivesServerDeadline(t *testing.T) {
	tier := logictest.New(t)
	content := make([]byte, 20<<20) // more than a connection buffers
	logictest.ServeMedia(tier).Add("recordings/one/original", "video/mp4", "", content)
	files := downloads.New(tier.Logic.Media, func(*http.Request) logicclient.Caller { return logicclient.Caller{} }, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("/recordings/{recording}/{file}", files.Recording)
	backend := httptest.NewUnstartedServer(mux)
	backend.Config.WriteTimeout = time.Millisecond
	backend.Start()
	t.Cleanup(backend.Close)
	response, err := http.Get(backend.URL + "/recordings/one/original")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n != int64(len(content)) {
		t.Errorf("got %d of %d bytes: %v", n, len(content), err)
	}
}

// A paused player does not read.
func TestReaderIsParkedWhileBrowserDoesNotRead(t *testing.T) {
	b, _, content, _ := open(t, 30<<20) // more than two connections buffer
	parked := make(chan struct{}, 100)
	b.Logic.Stream(mediapb.Media_ReadFile_FullMethodName, func(stream grpc.ServerStream) error {
		request := &mediapb.ReadFileRequest{}
		if err := stream.RecvMsg(request); err != nil {
			return err
		}
		end := min(int64(len(content)), request.Offset+request.Limit)
		for offset := request.Offset; offset < end; offset += 100_000 {
			if err := stream.SendMsg(&mediapb.ReadFileResponse{Data: content[offset:min(end, offset+100_000)]}); err != nil {
				parked <- struct{}{}
				return err
			}
		}
		return nil
	})
	response, err := http.Get(b.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	<-parked
	if got, err := io.ReadAll(response.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d of %d bytes: %v", len(got), len(content), err)
	}
}

func TestDownloadsAreLimitedPerAddressAndInTotal(t *testing.T) {
	tier := logictest.New(t)
	media := logictest.ServeMedia(tier)
	media.Add("recordings/one/original", "video/mp4", "", make([]byte, 1000))
	acquired := make(chan struct{})
	tier.Stream(mediapb.Media_ReadFile_FullMethodName, func(stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&mediapb.ReadFileRequest{}); err != nil {
			return err
		}
		acquired <- struct{}{}
		<-stream.Context().Done()
		return nil
	})
	files := downloads.New(tier.Logic.Media, func(r *http.Request) logicclient.Caller { return logicclient.Caller{Address: r.Header.Get("Address")} },
		func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
			if p.RetryAfter <= 0 {
				t.Errorf("got %+v, want a RetryAfter", p)
			}
			w.WriteHeader(p.Status)
		})
	mux := http.NewServeMux()
	mux.HandleFunc("/recordings/{recording}/{file}", files.Recording)
	ctx, cancel := context.WithCancel(t.Context())
	var requests sync.WaitGroup
	defer requests.Wait()
	defer cancel()
	// exhaust opens downloads until one is rejected, and returns their number and the status.
	exhaust := func(address func(n int) string) (accepted, status int) {
		rejected := make(chan int, 1)
		for ; accepted < 2000; accepted++ {
			caller := address(accepted)
			requests.Go(func() {
				defer func() { _ = recover() }() // the handler panics to abort an incomplete response
				request := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
				request.Header.Set("Address", caller)
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, request)
				select {
				case rejected <- w.Code:
				default:
				}
			})
			select {
			case <-acquired:
			case status = <-rejected:
				return accepted, status
			}
		}
		return accepted, 0
	}
	if n, status := exhaust(func(int) string { return "school" }); n < 100 || status != http.StatusTooManyRequests {
		t.Errorf("after %d downloads from one address: got status %d, want 429", n, status)
	}
	if n, status := exhaust(func(n int) string { return strconv.Itoa(n) }); n < 100 || status != http.StatusServiceUnavailable {
		t.Errorf("after %d more from other addresses: got status %d, want 503", n, status)
	}
}
