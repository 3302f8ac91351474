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

// Source addresses of the two sides: all of 127.0.0.0/8 is the loopback interface.
const (
	attacker  = "127.0.0.66"
	elsewhere = "127.0.0.77"
)

const (
	// attackHeadStart is how long an attack builds up before the bystander's first request.
	attackHeadStart = 2 * time.Second
	// rounds of the bystander's requests are sent during an attack.
	rounds = 5
	// served of each kind of request is the least number that must succeed. One of five can
	// be refused, as on any busy site, and then comes with Retry-After.
	served = 4
	// requestTimeout is how long the bystander's browser waits for an answer.
	requestTimeout = 20 * time.Second
)

func TestMain(m *testing.M) { localtest.Main(m) }

// client is an HTTP client that connects from one address and keeps its cookies.
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

// do sends a request and returns the status, or the error as text. A nil form is a GET.
func (c *client) do(ctx context.Context, path string, form url.Values) string {
	method, header, body := http.MethodGet, http.Header{}, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return c.send(ctx, method, path, header, body).status
}

// answer is a whole response. Its status is the error as text if there was one.
type answer struct {
	status string
	header http.Header
	body   []byte
}

func (c *client) send(ctx context.Context, method, path string, header http.Header, body io.Reader) answer {
	request, err := http.NewRequestWithContext(ctx, method, c.site+path, body)
	if err != nil {
		return answer{status: err.Error()}
	}
	maps.Copy(request.Header, header)
	response, err := c.http.Do(request)
	if err != nil {
		return answer{status: err.Error()}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{status: err.Error()}
	}
	return answer{fmt.Sprint(response.StatusCode), response.Header, content}
}

// signUp creates an account, signs in, and returns its handle; see passwordOf.
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

// bystander is a signed-in person at another address than the attacker's.
type bystander struct {
	*client
	site   *localtest.Site
	handle string
	// also adds requests to each round. It can be nil.
	also func(context.Context) map[string]result
}

// result is the status of a request, or its error, and the status of success.
type result struct{ got, want string }

func newBystander(t *testing.T, site *localtest.Site) *bystander {
	t.Helper()
	b := &bystander{client: newClient(t, site.URL, elsewhere), site: site}
	b.handle = b.signUp("bystander")
	return b
}

// requests sends one round of the bystander's requests.
func (b *bystander) requests(ctx context.Context) map[string]result {
	signIn := newClient(b.t, b.client.site, elsewhere)
	results := map[string]result{
		"front page": {b.do(ctx, "/", nil), "200"},
		"search":     {b.do(ctx, "/talks?q=architecture", nil), "200"},
		"inbox":      {b.do(ctx, "/inbox", nil), "200"},
		"follow":     {b.do(ctx, "/channels/adas-notebook/follow", url.Values{}), "303"},
		"sign in":    {signIn.do(ctx, "/sign-in", url.Values{"handle": {b.handle}, "password": {passwordOf(b.handle)}}), "303"},
	}
	if b.also != nil {
		maps.Copy(results, b.also(ctx))
	}
	return results
}

// duringAttack runs attack, which ends when its context does, and fails the test when the
// bystander is not served meanwhile.
func (b *bystander) duringAttack(name string, attack func(context.Context)) {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	var attacking sync.WaitGroup
	attacking.Go(func() { attack(ctx) })
	defer attacking.Wait()
	defer stop()
	select { // the attack builds up; nothing to wait for says when it has
	case <-time.After(attackHeadStart):
	case <-ctx.Done():
	}
	got, good := map[string][]string{}, map[string]int{}
	for range rounds {
		for kind, result := range b.requests(b.t.Context()) {
			got[kind] = append(got[kind], result.got)
			if result.got == result.want {
				good[kind]++
			}
		}
	}
	var row []string
	for kind, statuses := range got {
		row = append(row, fmt.Sprintf("%s %d of %d", kind, good[kind], rounds))
		if good[kind] < served {
			b.t.Errorf("during %q: %s answers %v", name, kind, statuses)
		}
	}
	slices.Sort(row)
	b.t.Logf("| %s | %s | web tier %d MB, logic tier %d MB |", name, strings.Join(row, ", "),
		b.site.PeakMemory("web-tier")>>20, b.site.PeakMemory("logic-tier")>>20)
}
