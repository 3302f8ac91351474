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

// operationTimeout bounds each wait for a long-running operation, including restarts of
// tiers meanwhile.
const operationTimeout = 4 * time.Minute

// Client is an HTTP client that keeps a session, asks for JSON, and retries while a tier
// is unavailable.
type Client struct {
	t    testing.TB
	site string
	http *http.Client
}

// NewClient returns a client of the site that is not signed in.
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

// SignUp creates an account, signs in to it and returns its handle.
func (c *Client) SignUp(name string) (handle string) {
	c.t.Helper()
	handle = UniqueName(name)
	if response := c.post("/sign-up", url.Values{"handle": {handle}, "name": {name}, "password": {"password of " + handle}}); response.status != http.StatusSeeOther {
		c.t.Fatalf("sign up as %s: %s", handle, response)
	}
	return handle
}

// CreateChannel creates a channel and returns its path.
func (c *Client) CreateChannel(title string) string {
	c.t.Helper()
	slug := UniqueName("channel")
	if response := c.post("/channels", url.Values{"slug": {slug}, "title": {title}}); response.status != http.StatusSeeOther {
		c.t.Fatalf("create a channel: %s", response)
	}
	return "/channels/" + slug
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) String() string {
	return fmt.Sprintf("%d %.300q", r.status, r.body)
}

// try sends a request once.
func (c *Client) try(ctx context.Context, method, path string, header map[string]string, body io.Reader) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.site+path, body)
	if err != nil {
		return reply{}, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, text}, err
}

// do sends a request and repeats it until the status is none of 502, 503 and 504.
func (c *Client) do(method, path string, header map[string]string, body []byte) reply {
	c.t.Helper()
	deadline := time.Now().Add(operationTimeout)
	for {
		a, err := c.try(c.t.Context(), method, path, header, bytes.NewReader(body))
		if err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout && a.status != http.StatusBadGateway {
			return a
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s %s: no response within %s: %v, %s", method, path, operationTimeout, err, a)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *Client) post(path string, form url.Values) reply {
	c.t.Helper()
	return c.do(http.MethodPost, path, map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
	}, []byte(form.Encode()))
}

// Start posts a form that starts an operation and returns the operation's path. It posts
// the form twice and checks that only one operation starts.
func (c *Client) Start(path string, form url.Values) string {
	c.t.Helper()
	form.Set("request_id", transport.NewRequestID())
	first := c.post(path, form)
	if first.status != http.StatusAccepted {
		c.t.Fatalf("%s starts no operation: %s", path, first)
	}
	location := first.header.Get("Location")
	if !strings.HasPrefix(location, "/operations/") || first.header.Get("Retry-After") == "" {
		c.t.Fatalf("%s: got headers %v, want Location and Retry-After", path, first.header)
	}
	if again := c.post(path, form); again.header.Get("Location") != location {
		c.t.Errorf("%s, sent twice, starts %s and %s", path, location, again.header.Get("Location"))
	}
	return location
}

// Operation is the JSON of an operation.
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

// Poll returns the current state of an operation.
func (c *Client) Poll(path string) (o Operation) {
	c.t.Helper()
	a := c.do(http.MethodGet, path, map[string]string{"Accept": "application/json"}, nil)
	if a.status != http.StatusOK {
		c.t.Fatalf("%s: %s", path, a)
	}
	if err := json.Unmarshal(a.body, &o); err != nil {
		c.t.Fatalf("%s: %v in %s", path, err, a)
	}
	return o
}

// WaitUntil follows an operation by long polls until a condition is true. It fails the
// test if the operation's progress decreases.
func (c *Client) WaitUntil(path, description string, condition func(Operation) bool) Operation {
	c.t.Helper()
	last := c.Poll(path)
	for deadline := time.Now().Add(operationTimeout); !condition(last); {
		if last.Done || time.Now().After(deadline) {
			c.t.Fatalf("%s: got %+v, want it %s", path, last, description)
		}
		c.do(http.MethodGet, path+"/wait?timeout=2s&after="+url.QueryEscape(last.Metadata.Cursor), map[string]string{"Accept": "application/json"}, nil)
		next := c.Poll(path)
		if next.Metadata.DoneCount < last.Metadata.DoneCount || next.Metadata.Percent < last.Metadata.Percent {
			c.t.Errorf("progress of %s decreased from %d (%d %%) to %d (%d %%)", path, last.Metadata.DoneCount, last.Metadata.Percent, next.Metadata.DoneCount, next.Metadata.Percent)
		}
		last = next
	}
	return last
}

// WaitForSuccess waits until an operation succeeds and decodes its response.
func (c *Client) WaitForSuccess(path string, response any) Operation {
	c.t.Helper()
	o := c.WaitUntil(path, "done", func(o Operation) bool { return o.Done })
	if o.Metadata.State != "STATE_SUCCEEDED" {
		c.t.Fatalf("%s: got %s, want STATE_SUCCEEDED: %s %+v", path, o.Metadata.State, o.Error.Message, o.Metadata.Steps)
	}
	if err := json.Unmarshal(o.Response, response); err != nil {
		c.t.Fatal(err)
	}
	return o
}

// Fetch returns the content of a path from an offset.
func (c *Client) Fetch(path string, offset int64) []byte {
	c.t.Helper()
	header := map[string]string{}
	want := http.StatusOK
	if offset > 0 {
		header["Range"], want = fmt.Sprintf("bytes=%d-", offset), http.StatusPartialContent
	}
	a := c.do(http.MethodGet, path, header, nil)
	if a.status != want {
		c.t.Fatalf("%s from byte %d: got %s, want status %d", path, offset, a, want)
	}
	return a.body
}

// Cancel requests the cancellation of an operation.
func (c *Client) Cancel(path string) {
	c.t.Helper()
	if a := c.post(path+"/cancel", url.Values{}); a.status >= 400 {
		c.t.Fatalf("cancel %s: %s", path, a)
	}
}
