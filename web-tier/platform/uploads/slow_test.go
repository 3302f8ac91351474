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

// The server's own deadlines are for pages: an upload may take as long as its
// bytes come.
func TestAnUploadOutlivesTheDeadlinesOfPages(t *testing.T) {
	tier := logictest.New(t)
	kept := logictest.ServeMedia(tier)
	caller := logicclient.Caller{Session: logictest.Session}
	size := int64(10)
	made, err := tier.Logic.Media.CreateUpload(logicclient.WithCaller(t.Context(), caller), &mediapb.CreateUploadRequest{Size: &size})
	if err != nil {
		t.Fatal(err)
	}
	tus := uploads.New(tier.Logic.Media).Handler(func(*http.Request) logicclient.Caller { return caller })
	begun := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/uploads/{upload}", func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		tus.ServeHTTP(w, r)
	})
	served := httptest.NewUnstartedServer(mux)
	// Over before the first byte of any body.
	served.Config.ReadHeaderTimeout, served.Config.ReadTimeout, served.Config.WriteTimeout = patience, time.Nanosecond, time.Nanosecond
	served.Start()
	t.Cleanup(served.Close)
	body, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("hello"))
		<-begun
		_, _ = writer.Write([]byte("world"))
		_ = writer.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, served.URL+"/"+made.Upload.Name, body)
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
	if _, got := kept.Upload(made.Upload.Name); response.StatusCode != http.StatusNoContent || string(got) != "helloworld" {
		t.Errorf("answered %s, kept %q", response.Status, got)
	}
}
