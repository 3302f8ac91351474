package uploads_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"techtalks.example/web-tier/logic"
	"techtalks.example/web-tier/logictest"
	"techtalks.example/web-tier/uploads"
)

// The server's own deadlines are for pages: an upload may take as long as its
// bytes come.
func TestAnUploadOutlivesTheDeadlinesOfPages(t *testing.T) {
	tier := logictest.New(t)
	kept := logictest.KeepBytes(tier)
	tus := uploads.New(tier.Logic.Media).Handler(func(*http.Request) logic.Caller { return logic.Caller{Session: logictest.Session} })
	mux := http.NewServeMux()
	mux.Handle("/uploads", tus)
	begun := make(chan struct{})
	mux.HandleFunc("/uploads/{upload}", func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		tus.ServeHTTP(w, r)
	})
	served := httptest.NewUnstartedServer(mux)
	served.Config.ReadHeaderTimeout, served.Config.ReadTimeout, served.Config.WriteTimeout = patience, 50*time.Millisecond, 50*time.Millisecond
	served.Start()
	t.Cleanup(served.Close)
	do := func(method, path string, body io.Reader, headers ...string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), method, served.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Tus-Resumable", "1.0.0")
		for i := 0; i+1 < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response
	}
	url := do(http.MethodPost, "/uploads", nil, "Upload-Length", "10").Header.Get("Location")
	body, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("hello"))
		<-begun
		// Later than the deadlines of pages, by a clock of its own.
		<-time.After(4 * served.Config.ReadTimeout)
		_, _ = writer.Write([]byte("world"))
		_ = writer.Close()
	}()
	if response := do(http.MethodPatch, url, body, "Content-Type", octets, "Upload-Offset", "0"); response.StatusCode != http.StatusNoContent {
		t.Errorf("answered %s", response.Status)
	}
	if _, got := kept.Upload(url[1:]); string(got) != "helloworld" {
		t.Errorf("kept %q", got)
	}
}
