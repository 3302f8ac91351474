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

// The server's own deadline is for pages: a recording may be watched for hours.
func TestWatchingOutlivesTheDeadlineOfPages(t *testing.T) {
	tier := logictest.New(t)
	content := make([]byte, 20<<20) // more than a connection takes at once
	logictest.ServeMedia(tier).Add("recordings/one/original", "video/mp4", "", content)
	out := downloads.New(tier.Logic.Media, func(*http.Request) logicclient.Caller { return logicclient.Caller{} }, nil)
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

// A browser that does not read, such as a paused player, is not read ahead for. When it
// reads on it gets the rest.
func TestNothingIsReadAheadForABrowserThatDoesNotRead(t *testing.T) {
	b, _, content, _ := open(t, 30<<20) // more than two connections buffer
	parked := make(chan struct{}, 100)
	b.Logic.Stream(mediapb.Media_ReadFile_FullMethodName, func(stream grpc.ServerStream) error {
		request := &mediapb.ReadFileRequest{}
		if err := stream.RecvMsg(request); err != nil {
			return err
		}
		end := min(int64(len(content)), request.Offset+request.Limit)
		for at := request.Offset; at < end; at += 100_000 {
			if err := stream.SendMsg(&mediapb.ReadFileResponse{Data: content[at:min(end, at+100_000)]}); err != nil {
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
		t.Errorf("%d of %d bytes came: %v", len(got), len(content), err)
	}
}

// One address is told when to come back while others watch; beyond the bound for all,
// everyone is.
func TestWatchersAreBoundedForEachAddressAndForAll(t *testing.T) {
	tier := logictest.New(t)
	kept := logictest.ServeMedia(tier)
	kept.Add("recordings/one/original", "video/mp4", "", make([]byte, 1000))
	held := make(chan struct{})
	tier.Stream(mediapb.Media_ReadFile_FullMethodName, func(stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&mediapb.ReadFileRequest{}); err != nil {
			return err
		}
		held <- struct{}{}
		<-stream.Context().Done()
		return nil
	})
	out := downloads.New(tier.Logic.Media, func(r *http.Request) logicclient.Caller { return logicclient.Caller{Address: r.Header.Get("Address")} },
		func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
			if p.RetryAfter <= 0 {
				t.Errorf("refused with %+v", p)
			}
			w.WriteHeader(p.Status)
		})
	mux := http.NewServeMux()
	mux.HandleFunc("/recordings/{recording}/{file}", out.Recording)
	ctx, leave := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer leave()
	until := func(address func(n int) string) (watchers, status int) {
		refused := make(chan int, 1)
		for ; watchers < 2000; watchers++ {
			who := address(watchers)
			watching.Go(func() {
				defer func() { _ = recover() }() // how a handler ends an answer that is too short
				request := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
				request.Header.Set("Address", who)
				answer := httptest.NewRecorder()
				mux.ServeHTTP(answer, request)
				select {
				case refused <- answer.Code:
				default:
				}
			})
			select {
			case <-held:
			case status = <-refused:
				return watchers, status
			}
		}
		return watchers, 0
	}
	if n, status := until(func(int) string { return "school" }); n < 100 || status != http.StatusTooManyRequests {
		t.Errorf("after %d of one address: %d", n, status)
	}
	if n, status := until(func(n int) string { return strconv.Itoa(n) }); n < 100 || status != http.StatusServiceUnavailable {
		t.Errorf("after %d more of others: %d", n, status)
	}
}
