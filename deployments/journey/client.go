package journey

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"techtalks.example/proto/transport"
)

// workPatience bounds every wait of a client for work that takes long, tiers that
// come back meanwhile included.
const workPatience = 4 * time.Minute

// Client is somebody without a browser: a program that keeps a session, asks for
// JSON, and tries again when a tier is away.
type Client struct {
	t    testing.TB
	site string
	http *http.Client
}

// NewClient returns a client of the site that is nobody yet.
func NewClient(t testing.TB, site string) *Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{t: t, site: site, http: &http.Client{
		Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// SignUp makes an account and signs it in.
func (c *Client) SignUp(name string) (handle string) {
	c.t.Helper()
	handle = New(name)
	if answer := c.post("/sign-up", url.Values{"handle": {handle}, "name": {name}, "password": {"password of " + handle}}); answer.status != http.StatusSeeOther {
		c.t.Fatalf("sign up as %s: %s", handle, answer)
	}
	return handle
}

// MakeChannel makes a channel and returns its path.
func (c *Client) MakeChannel(title string) string {
	c.t.Helper()
	slug := New("channel")
	if answer := c.post("/channels", url.Values{"slug": {slug}, "title": {title}}); answer.status != http.StatusSeeOther {
		c.t.Fatalf("make a channel: %s", answer)
	}
	return "/channels/" + slug
}

// answer is what a request came back with.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("%d %.300q", a.status, a.body)
}

// try makes a request once.
func (c *Client) try(ctx context.Context, method, path string, header map[string]string, body io.Reader) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.site+path, body)
	if err != nil {
		return answer{}, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, text}, err
}

// ask makes a request until a tier answers it, however it does.
func (c *Client) ask(method, path string, header map[string]string, body []byte) answer {
	c.t.Helper()
	deadline := time.Now().Add(workPatience)
	for {
		a, err := c.try(c.t.Context(), method, path, header, bytes.NewReader(body))
		if err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout && a.status != http.StatusBadGateway {
			return a
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s %s: in %s nobody answers: %v, %s", method, path, workPatience, err, a)
		}
		time.Sleep(100 * time.Millisecond) // a tier is away
	}
}

func (c *Client) post(path string, form url.Values) answer {
	c.t.Helper()
	return c.ask(http.MethodPost, path, map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
	}, []byte(form.Encode()))
}

// Start posts a form that starts long work and returns the path of its handle.
// Sent twice it is the same work.
func (c *Client) Start(path string, form url.Values) string {
	c.t.Helper()
	form.Set("request_id", transport.NewRequestID())
	first := c.post(path, form)
	if first.status != http.StatusAccepted {
		c.t.Fatalf("%s starts nothing: %s", path, first)
	}
	at := first.header.Get("Location")
	if !strings.HasPrefix(at, "/operations/") || first.header.Get("Retry-After") == "" {
		c.t.Fatalf("%s answers with %v", path, first.header)
	}
	if again := c.post(path, form); again.header.Get("Location") != at {
		c.t.Errorf("sent twice, %s starts %s and %s", path, at, again.header.Get("Location"))
	}
	return at
}

// Operation is a handle as it is given in JSON.
type Operation struct {
	Name     string
	Done     bool
	Metadata struct {
		State     string
		Percent   int
		DoneCount int64  `json:"done_count,string"`
		Total     int64  `json:"total_count,string"`
		Unit      string `json:"unit"`
		Cursor    string
		Steps     []struct{ Text string }
	}
	Error    struct{ Message string }
	Response json.RawMessage
}

// Poll asks how far an operation is.
func (c *Client) Poll(path string) (o Operation) {
	c.t.Helper()
	a := c.ask(http.MethodGet, path, map[string]string{"Accept": "application/json"}, nil)
	if a.status != http.StatusOK {
		c.t.Fatalf("%s: %s", path, a)
	}
	if err := json.Unmarshal(a.body, &o); err != nil {
		c.t.Fatalf("%s: %v in %s", path, err, a)
	}
	return o
}

// Until follows an operation by long polls until it is as it should be. Its
// progress must never go back.
func (c *Client) Until(path, what string, is func(Operation) bool) Operation {
	c.t.Helper()
	last := c.Poll(path)
	for deadline := time.Now().Add(workPatience); !is(last); {
		if last.Done || time.Now().After(deadline) {
			c.t.Fatalf("%s is not %s: %+v", path, what, last)
		}
		c.ask(http.MethodGet, path+"/wait?timeout=2s&after="+url.QueryEscape(last.Metadata.Cursor), map[string]string{"Accept": "application/json"}, nil)
		next := c.Poll(path)
		if next.Metadata.DoneCount < last.Metadata.DoneCount || next.Metadata.Percent < last.Metadata.Percent {
			c.t.Errorf("%s went back from %d (%d %%) to %d (%d %%)", path, last.Metadata.DoneCount, last.Metadata.Percent, next.Metadata.DoneCount, next.Metadata.Percent)
		}
		last = next
	}
	return last
}

// Succeeds waits for the end of an operation and reads its response.
func (c *Client) Succeeds(path string, response any) Operation {
	c.t.Helper()
	o := c.Until(path, "done", func(o Operation) bool { return o.Done })
	if o.Metadata.State != "STATE_SUCCEEDED" {
		c.t.Fatalf("%s ended with %s: %s %+v", path, o.Metadata.State, o.Error.Message, o.Metadata.Steps)
	}
	if err := json.Unmarshal(o.Response, response); err != nil {
		c.t.Fatal(err)
	}
	return o
}

// Fetch returns the bytes at a path, from an offset on.
func (c *Client) Fetch(path string, from int64) []byte {
	c.t.Helper()
	header := map[string]string{}
	want := http.StatusOK
	if from > 0 {
		header["Range"], want = fmt.Sprintf("bytes=%d-", from), http.StatusPartialContent
	}
	a := c.ask(http.MethodGet, path, header, nil)
	if a.status != want {
		c.t.Fatalf("%s from %d: %s", path, from, a)
	}
	return a.body
}

// Cancel has an operation stop.
func (c *Client) Cancel(path string) {
	c.t.Helper()
	if a := c.post(path+"/cancel", url.Values{}); a.status >= 400 {
		c.t.Fatalf("cancel %s: %s", path, a)
	}
}
