package account_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/account"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

// open returns a browser on the account pages. SignIn accepts the password "right".
func open(t *testing.T, secure bool) *pagetest.Browser {
	b := pagetest.Open(t, secure, map[string]ui.Handler{
		"GET /sign-up": account.SignUpForm, "POST /sign-up": account.SignUp,
		"GET /sign-in": account.SignInForm, "POST /sign-in": account.SignIn,
		"POST /sign-out": account.SignOut, "GET /account": account.Show, "POST /account/export": account.Export,
		"POST /account/password": account.ChangePassword, "POST /account/sessions/{session}/end": account.EndSession,
		"POST /account/sign-out-everywhere": account.SignOutEverywhere, "POST /account/close": account.CloseAccount, "GET /account/closed": account.Closed,
	})
	logictest.Answer(b.Logic, followingpb.Following_ListFollows_FullMethodName, func(context.Context, *followingpb.ListFollowsRequest) (*followingpb.ListFollowsResponse, error) {
		return &followingpb.ListFollowsResponse{}, nil
	})
	logictest.Answer(b.Logic, accountspb.Accounts_ListSessions_FullMethodName, func(context.Context, *accountspb.ListSessionsRequest) (*accountspb.ListSessionsResponse, error) {
		at := timestamppb.New(time.Unix(1_700_000_000, 0))
		return &accountspb.ListSessionsResponse{Sessions: []*accountspb.SessionSummary{
			{Name: "sessions/7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", CreateTime: at, UseTime: at, ExpireTime: at, Current: true},
			{Name: "sessions/8", UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", CreateTime: at, UseTime: at, ExpireTime: at},
			{Name: "sessions/9", UserAgent: "<b>bot</b> " + strings.Repeat("long ", 50), CreateTime: at, UseTime: at, ExpireTime: at},
			{Name: "sessions/10", CreateTime: at, UseTime: at, ExpireTime: at},
		}}, nil
	})
	logictest.Answer(b.Logic, accountspb.Accounts_SignIn_FullMethodName, func(_ context.Context, q *accountspb.SignInRequest) (*accountspb.SignInResponse, error) {
		if q.Password != "right" {
			return nil, logictest.Refusal(codes.Unauthenticated, "WRONG_CREDENTIALS", "wrong handle or password")
		}
		return &accountspb.SignInResponse{Session: &accountspb.Session{
			Token: logictest.Session, ExpireTime: timestamppb.New(time.Now().Add(time.Hour)), Account: logictest.Ada,
		}}, nil
	})
	return b
}

func TestSignInSetsSessionCookieAndRedirects(t *testing.T) {
	for _, c := range []struct {
		secure bool
		cookie string
	}{{false, "session-"}, {true, "__Host-session-"}} {
		b := open(t, c.secure)
		c.cookie += b.Address()[strings.LastIndex(b.Address(), ":")+1:]
		p := b.Post("/sign-in", url.Values{"handle": {"ada"}, "password": {"right"}, "next": {"/inbox"}})
		p.RedirectsTo("/inbox")
		cookie := p.Cookie(c.cookie)
		if cookie == nil || cookie.Value != logictest.Session || !cookie.HttpOnly || cookie.Secure != c.secure || cookie.Path != "/" || cookie.SameSite != http.SameSiteLaxMode {
			t.Errorf("secure %v: got cookie %+v", c.secure, cookie)
		}
	}
}

// Sites on the same host name share a cookie jar, because cookies ignore ports.
func TestSitesOnSameHostKeepSeparateSessions(t *testing.T) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	open := func() string {
		b := open(t, false)
		logictest.Answer(b.Logic, accountspb.Accounts_SignOut_FullMethodName, func(context.Context, *accountspb.SignOutRequest) (*accountspb.SignOutResponse, error) {
			return &accountspb.SignOutResponse{}, nil
		})
		logictest.Answer(b.Logic, followingpb.Following_ListFollows_FullMethodName, func(context.Context, *followingpb.ListFollowsRequest) (*followingpb.ListFollowsResponse, error) {
			return &followingpb.ListFollowsResponse{}, nil
		})
		return b.Address()
	}
	first, second := open(), open()
	post := func(url string, form url.Values) {
		t.Helper()
		response, err := client.PostForm(url, form)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusSeeOther {
			t.Fatalf("POST %s: got %s, want 303", url, response.Status)
		}
	}
	account := func(site string, want int) {
		t.Helper()
		response, err := client.Get(site + "/account")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s/account: got %s, want %d", site, response.Status, want)
		}
	}
	for _, site := range []string{first, second} {
		post(site+"/sign-in", url.Values{"handle": {"ada"}, "password": {"right"}})
	}
	if cookies := jar.Cookies(&url.URL{Scheme: "http", Host: strings.TrimPrefix(first, "http://")}); len(cookies) != 2 {
		t.Errorf("got %d cookies, want one for each site", len(cookies))
	}
	post(second+"/sign-out", nil)
	account(second, http.StatusSeeOther)
	account(first, http.StatusOK)
}

func TestSignInRedirectsOnlyWithinSite(t *testing.T) {
	b := open(t, false)
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)", "evil", ""} {
		b.Post("/sign-in", url.Values{"handle": {"ada"}, "password": {"right"}, "next": {next}}).RedirectsTo("/")
	}
}

func TestSignInFormKeepsHandleButNotPasswordAfterFailure(t *testing.T) {
	p := open(t, false).Post("/sign-in", url.Values{"handle": {"ada"}, "password": {"hunter2-hunter2"}})
	p.Is(401, "Wrong handle or password.", `value="ada"`).Lacks("hunter2-hunter2")
}

// A browser still sends the cookie of an expired session.
func TestExpiredSessionCookieDoesNotPreventSignIn(t *testing.T) {
	b := open(t, false).With("over")
	b.Post("/sign-in", url.Values{"handle": {"ada"}, "password": {"right"}}).RedirectsTo("/")
	b.Get("/account").RedirectsTo("/sign-in?next=%2Faccount")
}

func TestSignUpShowsErrorsAtTheirFields(t *testing.T) {
	b := open(t, false)
	logictest.Answer(b.Logic, accountspb.Accounts_SignUp_FullMethodName, func(context.Context, *accountspb.SignUpRequest) (*accountspb.SignUpResponse, error) {
		return nil, logictest.Refusal(codes.InvalidArgument, "FIELDS_INVALID", "bad", "handle", "use letters", "display_name", "use one line", "password", "use 10 characters")
	})
	p := b.Post("/sign-up", url.Values{"handle": {"A!"}, "name": {"<b>Bob</b>"}, "password": {"short"}})
	p.Is(422, "Use letters.", "Use one line.", "Use 10 characters.", `value="A!"`, "&lt;b&gt;Bob", `aria-invalid="true"`).Lacks("<b>Bob", "short\"")
}

func TestSignInRateLimitIsShownInForm(t *testing.T) {
	b := open(t, false)
	logictest.Answer(b.Logic, accountspb.Accounts_SignIn_FullMethodName, func(context.Context, *accountspb.SignInRequest) (*accountspb.SignInResponse, error) {
		return nil, logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_ATTEMPTS", "too many attempts; try again in a minute", time.Minute)
	})
	b.Post("/sign-in", url.Values{"handle": {"ada"}, "password": {"x"}}).Is(429, "Too many attempts", `value="ada"`)
}

func TestAccountPageListsFollowedChannels(t *testing.T) {
	b := open(t, false).With(logictest.Session)
	logictest.Answer(b.Logic, followingpb.Following_ListFollows_FullMethodName, func(context.Context, *followingpb.ListFollowsRequest) (*followingpb.ListFollowsResponse, error) {
		return &followingpb.ListFollowsResponse{Channels: []*followingpb.FollowedChannel{{Channel: "channels/go", ChannelTitle: "Go <talks>", FollowTime: timestamppb.Now()}}}, nil
	})
	b.Get("/account").Is(200, "Ada", `href="/channels/go"`, "Go &lt;talks&gt;")
}

func TestExportCoversAllChannels(t *testing.T) {
	b := open(t, false).With(logictest.Session)
	logictest.Answer(b.Logic, transferspb.Transfers_ExportArchive_FullMethodName, func(_ context.Context, q *transferspb.ExportArchiveRequest) (*longrunningpb.Operation, error) {
		if q.Parent != "" {
			t.Errorf("got parent %q, want none", q.Parent)
		}
		return &longrunningpb.Operation{Name: "operations/of-" + q.RequestId}, nil
	})
	b.Post("/account/export", url.Values{"request_id": {"7"}}).RedirectsTo("/operations/of-7")
	b.With("").Post("/account/export", nil).RedirectsTo("/sign-in?next=%2F")
}

func TestSignInPageOffersDemoAccountsOnlyOnDemoSite(t *testing.T) {
	b := open(t, false)
	b.Get("/sign-in").Is(200).Lacks("Continue as", "ada-ada-ada", "grace-grace-grace", "demo")
	b.Post("/sign-in", url.Values{"handle": {"ada"}, "password": {"wrong"}}).Is(401).Lacks("Continue as", "ada-ada-ada", "demo")

	demo := pagetest.Open(t, false, map[string]ui.Handler{
		"GET /sign-in": func(v *ui.PageContext) error {
			v.Site.Demo = true
			return account.SignInForm(v)
		},
		"POST /sign-in": account.SignIn,
	})
	var handles []string
	logictest.Answer(demo.Logic, accountspb.Accounts_SignIn_FullMethodName, func(_ context.Context, q *accountspb.SignInRequest) (*accountspb.SignInResponse, error) {
		handles = append(handles, q.Handle+" "+q.Password)
		return &accountspb.SignInResponse{Session: &accountspb.Session{
			Token: logictest.Session, ExpireTime: timestamppb.New(time.Now().Add(time.Hour)), Account: logictest.Ada,
		}}, nil
	})
	demo.Get("/sign-in").Is(200, "Continue as Ada (operator)", "Continue as Grace (follower)")
	tab := demo.Tab()
	for i := range 2 {
		tab.Open("/sign-in?next=%2Fsign-in%3Fsigned%3Din")
		tab.Click(fmt.Sprintf(".demo form:nth-of-type(%d) button", i+1))
		tab.Until("location.search == '?signed=in'")
	}
	if want := []string{"ada ada-ada-ada", "grace grace-grace-grace"}; !slices.Equal(handles, want) {
		t.Errorf("buttons signed in %q, want %q", handles, want)
	}
}
