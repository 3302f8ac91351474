package following_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/modules/following"
	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

var (
	ada   = caller.Person{ID: 1, Handle: "ada"}
	grace = caller.Person{ID: 2, Handle: "grace"}
)

// channels is the neighbour that knows which channels there are, by slug.
type channels struct {
	talkspb.ChannelsClient
	ids map[string]int64
}

func (c channels) GetChannel(_ context.Context, r *talkspb.GetChannelRequest, _ ...grpc.CallOption) (*talkspb.GetChannelResponse, error) {
	slug := strings.ToLower(strings.TrimPrefix(r.Name, "channels/"))
	if id, there := c.ids[slug]; there {
		return &talkspb.GetChannelResponse{Channel: &talkspb.Channel{Name: "channels/" + slug, Id: id, Title: "Channel " + slug}}, nil
	}
	return nil, status.Error(codes.NotFound, "there is no such channel")
}

// site is the module with a database of its own, and 2,010 channels beside it.
type site struct {
	followingpb.FollowingServer
	database *postgrestest.Database
}

func (s *site) RegisterService(_ *grpc.ServiceDesc, service any) {
	s.FollowingServer = service.(followingpb.FollowingServer)
}

func newSite(t testing.TB) *site {
	t.Helper()
	ids := map[string]int64{}
	for i := range 2010 {
		ids[fmt.Sprintf("c%d", i)] = int64(i + 1)
	}
	s := &site{database: postgrestest.New(t)}
	following.New(following.Needs{DB: s.database.Open("following"), Channels: channels{ids: ids}}).Register(s)
	return s
}

func as(t testing.TB, p caller.Person) context.Context {
	return caller.With(t.Context(), caller.Call{Program: "web-tier", Person: &p})
}

func (s *site) follow(t testing.TB, p caller.Person, slug string) {
	t.Helper()
	if _, err := s.Follow(as(t, p), &followingpb.FollowRequest{Channel: "channels/" + slug}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) follows(t testing.TB, p caller.Person, slug string) bool {
	t.Helper()
	answer, err := s.GetFollow(as(t, p), &followingpb.GetFollowRequest{Channel: "channels/" + slug})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Following
}

func (s *site) followers(t testing.TB, channel, after int64, size int32) []int64 {
	t.Helper()
	answer, err := s.ListFollowers(t.Context(), &followingpb.ListFollowersRequest{ChannelId: channel, AfterAccountId: after, PageSize: size})
	if err != nil {
		t.Fatal(err)
	}
	return answer.AccountIds
}

func TestFollowAndUnfollowTwiceIsOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for range 2 {
		s.follow(t, ada, "c1")
	}
	s.follow(t, grace, "c1")
	if got := s.followers(t, 2, 0, 0); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("followers %v", got)
	}
	if !s.follows(t, ada, "c1") || !s.follows(t, ada, "C1") || s.follows(t, ada, "c2") {
		t.Error("it is not said that who follows follows")
	}
	for range 2 {
		if _, err := s.Unfollow(as(t, ada), &followingpb.UnfollowRequest{Channel: "channels/c1"}); err != nil {
			t.Fatal(err)
		}
	}
	if s.follows(t, ada, "c1") || !s.follows(t, grace, "c1") {
		t.Error("unfollowed by the wrong one")
	}
}

func TestChannelThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.Follow(as(t, ada), &followingpb.FollowRequest{Channel: "channels/nowhere"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("follow: %v", err)
	}
	_, err = s.Unfollow(as(t, ada), &followingpb.UnfollowRequest{Channel: "channels/nowhere"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("unfollow: %v", err)
	}
	for _, slug := range []string{"nowhere", "", "a b"} {
		if s.follows(t, ada, slug) {
			t.Errorf("%q is followed", slug)
		}
	}
}

// The bound holds when two browsers follow at once; following again what is
// followed already is no new follow.
func TestAccountFollowsAtMost2000Channels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := s.database.Superuser().Exec(`
		insert into following.follow (channel_id, account_id, channel, channel_title)
		select i, 1, 'channels/c' || i - 1, 'Channel'
		from   generate_series(1, 1997) i`); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := s.Follow(as(t, ada), &followingpb.FollowRequest{Channel: fmt.Sprintf("channels/c%d", 2000+i)})
			var f *apperror.Failure
			if err != nil && (!errors.As(err, &f) || f.Reason != "TOO_MANY_FOLLOWS") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var count int
	if err := s.database.Superuser().QueryRow(`select count(*) from following.follow where account_id = 1`).Scan(&count); err != nil || count != 2000 {
		t.Errorf("%d follows, %v", count, err)
	}
	s.follow(t, ada, "c5")
	s.follow(t, grace, "c2000")
}

func TestFollowsTheLatestFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 12 {
		s.follow(t, ada, fmt.Sprintf("c%d", i))
	}
	s.follow(t, grace, "c100")
	var names []string
	for token := ""; ; {
		answer, err := s.ListFollows(as(t, ada), &followingpb.ListFollowsRequest{PageSize: 5, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range answer.Channels {
			names = append(names, strings.TrimPrefix(c.Channel, "channels/c"))
		}
		if token == "" {
			// On the way, she follows another: the next page is what it was.
			s.follow(t, ada, "c200")
			_, err := s.ListFollows(as(t, grace), &followingpb.ListFollowsRequest{PageSize: 5, PageToken: answer.NextPageToken})
			var f *apperror.Failure
			if !errors.As(err, &f) || f.Reason != "PAGE_TOKEN_INVALID" {
				t.Errorf("somebody else's token: %v", err)
			}
		}
		if token = answer.NextPageToken; token == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "11 10 9 8 7 6 5 4 3 2 1 0" {
		t.Errorf("follows are %s", got)
	}
}

// A fan-out reads every follower once, page by page, while some come and go.
func TestFollowersPageByPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	admin := s.database.Superuser()
	if _, err := admin.Exec(`
		insert into following.follow (channel_id, account_id, channel, channel_title)
		select 7, i * 2, 'channels/c6', 'Channel'
		from   generate_series(1, 25000) i`); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for after := int64(0); ; {
		part := s.followers(t, 7, after, 1<<30)
		if seen == 0 {
			if len(part) != 10_000 {
				t.Fatalf("a page of %d", len(part))
			}
			if _, err := admin.Exec(`
				delete from following.follow where channel_id = 7 and account_id <= 20;
				insert into following.follow (channel_id, account_id, channel, channel_title)
				values (7, 3, '', '')`); err != nil {
				t.Fatal(err)
			}
		}
		for _, account := range part {
			if account <= after {
				t.Fatalf("%d after %d", account, after)
			}
			after = account
		}
		seen += len(part)
		if len(part) < 10_000 {
			break
		}
	}
	if seen != 25_000 {
		t.Errorf("%d followers", seen)
	}
	if got := len(s.followers(t, 7, 0, 0)); got != 1000 {
		t.Errorf("%d without a page size", got)
	}
	if got := s.followers(t, 8, 0, 0); len(got) != 0 {
		t.Errorf("nobody follows: %v", got)
	}
}

func BenchmarkFollowers(b *testing.B) {
	s := newSite(b)
	if _, err := s.database.Superuser().Exec(`
		insert into following.follow (channel_id, account_id, channel, channel_title)
		select 7, i, 'channels/c6', 'Channel'
		from   generate_series(1, 100000) i`); err != nil {
		b.Fatal(err)
	}
	if _, err := s.database.Superuser().Exec(`
		vacuum analyze following.follow`); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for after := int64(0); after < 100_000; {
			part := s.followers(b, 7, after, 10_000)
			after = part[len(part)-1]
		}
	}
}
