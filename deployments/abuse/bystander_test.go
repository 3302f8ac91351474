package abuse

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

// Source addresses of the attacker and the bystander, both on the loopback interface
// (127.0.0.0/8).
const (
	attacker         = "127.0.0.66"
	bystanderAddress = "127.0.0.77"
)

const (
	// attackHeadStart is the time between the start of an attack and the bystander's first
	// request.
	attackHeadStart = 2 * time.Second
	// rounds is the number of rounds of bystander requests during an attack.
	rounds = 5
	// minServed is the minimum number of successes of each kind of request. One of five can be
	// rejected with Retry-After, as on any busy site.
	minServed = 4
	// requestTimeout is the time that the bystander's browser waits for a response.
	requestTimeout = 20 * time.Second
)

func TestMain(m *testing.M) { localtest.Main(m) }

// client is an HTTP client with a fixed source address and a cookie jar.
type client struct {
	t    *testing.T
	site string
	http *http.Client
}

// newClient returns a client of site that connects from address.
func newClient(t *testing.T, site, address string) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, site: site, http: &http.Client{
		Jar: jar, Timeout: requestTimeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request and returns the status, or the error as text. It sends a GET if form is
// nil.
func (c *client) do(ctx context.Context, path string, form url.Values) string {
	method, header, body := http.MethodGet, http.Header{}, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return c.send(ctx, method, path, header, body).status
}

// response is a complete response. If the request failed, status is the error as text.
type response struct {
	status string
	header http.Header
	body   []byte
}

func (c *client) send(ctx context.Context, method, path string, header http.Header, body io.Reader) response {
	request, err := http.NewRequestWithContext(ctx, method, c.site+path, body)
	if err != nil {
		return response{status: err.Error()}
	}
	maps.Copy(request.Header, header)
	r, err := c.http.Do(request)
	if err != nil {
		return response{status: err.Error()}
	}
	defer r.Body.Close()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return response{status: err.Error()}
	}
	return response{fmt.Sprint(r.StatusCode), r.Header, content}
}

// signUp creates an account, signs in, and returns its handle. Its password is
// passwordOf(handle).
func (c *client) signUp(name string) string {
	c.t.Helper()
	handle := journey.UniqueName(name)
	if got := c.do(c.t.Context(), "/sign-up", url.Values{"handle": {handle}, "name": {name}, "password": {passwordOf(handle)}}); got != "303" {
		c.t.Fatalf("sign up as %s: %s", handle, got)
	}
	return handle
}

// cookie returns the client's cookies as a header field, for raw connections.
func (c *client) cookie() string {
	c.t.Helper()
	site, err := url.Parse(c.site)
	if err != nil {
		c.t.Fatal(err)
	}
	var pairs []string
	for _, cookie := range c.http.Jar.Cookies(site) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	return "Cookie: " + strings.Join(pairs, "; ")
}

func passwordOf(handle string) string { return "password of " + handle }

// bystander is a signed-in client at another address than the attacker.
type bystander struct {
	*client
	site   *localtest.Site
	handle string
	// extra sends additional requests in each round. It can be nil.
	extra func(context.Context) map[string]result
}

// result is the actual and the expected status of a request; got is the error as text if the
// request failed.
type result struct{ got, want string }

func newBystander(t *testing.T, site *localtest.Site) *bystander {
	t.Helper()
	b := &bystander{client: newClient(t, site.URL, bystanderAddress), site: site}
	b.handle = b.signUp("bystander")
	return b
}

// requests sends one round of the bystander's requests.
func (b *bystander) requests(ctx context.Context) map[string]result {
	signIn := newClient(b.t, b.client.site, bystanderAddress)
	results := map[string]result{
		"front page": {b.do(ctx, "/", nil), "200"},
		"search":     {b.do(ctx, "/talks?q=architecture", nil), "200"},
		"inbox":      {b.do(ctx, "/inbox", nil), "200"},
		"follow":     {b.do(ctx, "/channels/adas-notebook/follow", url.Values{}), "303"},
		"sign in":    {signIn.do(ctx, "/sign-in", url.Values{"handle": {b.handle}, "password": {passwordOf(b.handle)}}), "303"},
	}
	if b.extra != nil {
		maps.Copy(results, b.extra(ctx))
	}
	return results
}

// duringAttack runs attack, which returns when its context is done. It fails the test if the
// bystander is not served meanwhile.
func (b *bystander) duringAttack(name string, attack func(context.Context)) {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	var attacking sync.WaitGroup
	attacking.Go(func() { attack(ctx) })
	defer attacking.Wait()
	defer stop()
	select { // no observable condition marks the full strength of an attack
	case <-time.After(attackHeadStart):
	case <-ctx.Done():
	}
	statuses, successes := map[string][]string{}, map[string]int{}
	for range rounds {
		for kind, result := range b.requests(b.t.Context()) {
			statuses[kind] = append(statuses[kind], result.got)
			if result.got == result.want {
				successes[kind]++
			}
		}
	}
	var row []string
	for kind := range statuses {
		row = append(row, fmt.Sprintf("%s %d of %d", kind, successes[kind], rounds))
		if successes[kind] < minServed {
			b.t.Errorf("during %q: got statuses %v for %s, want at least %d successes", name, statuses[kind], kind, minServed)
		}
	}
	slices.Sort(row)
	b.t.Logf("| %s | %s | web tier %d MB, logic tier %d MB |", name, strings.Join(row, ", "),
		b.site.PeakMemory("web-tier")>>20, b.site.PeakMemory("logic-tier")>>20)
}
