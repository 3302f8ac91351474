package uploads_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/logictest"
	"techtalks.example/web-tier/platform/uploads"
)

// The server's deadlines are for pages. An upload may take any time as long as bytes arrive.
func TestUploadOutlivesServerDeadlines(t *testing.T) {
	tier := logictest.New(t)
	media := logictest.ServeMedia(tier)
	caller := logicclient.Caller{Session: logictest.Session}
	size := int64(10)
	created, err := tier.Logic.Media.CreateUpload(logicclient.WithCaller(t.Context(), caller), &mediapb.CreateUploadRequest{Size: &size})
	if err != nil {
		t.Fatal(err)
	}
	tus := uploads.New(tier.Logic.Media).Handler(func(*http.Request) logicclient.Caller { return caller })
	started := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/uploads/{upload}", func(w http.ResponseWriter, r *http.Request) {
		close(started)
		tus.ServeHTTP(w, r)
	})
	backend := httptest.NewUnstartedServer(mux)
	// Expires before the first byte of any body.
	backend.Config.ReadHeaderTimeout, backend.Config.ReadTimeout, backend.Config.WriteTimeout = waitTimeout, time.Nanosecond, time.Nanosecond
	backend.Start()
	t.Cleanup(backend.Close)
	body, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("hello"))
		<-started
		_, _ = writer.Write([]byte("world"))
		_ = writer.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, backend.URL+"/"+created.Upload.Name, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Tus-Resumable": "1.0.0", "Content-Type": octets, "Upload-Offset": "0"} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if _, got := media.Upload(created.Upload.Name); response.StatusCode != http.StatusNoContent || string(got) != "helloworld" {
		t.Errorf("got %s, stored %q; want 204, helloworld", response.Status, got)
	}
}
