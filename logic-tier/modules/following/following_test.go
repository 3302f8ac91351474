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

// channels is a fake talks module with channel ids by slug.
type channels struct {
	talkspb.ChannelsClient
	ids map[string]int64
}

func (c channels) GetChannel(_ context.Context, r *talkspb.GetChannelRequest, _ ...grpc.CallOption) (*talkspb.GetChannelResponse, error) {
	slug := strings.ToLower(strings.TrimPrefix(r.Name, "channels/"))
	if id, ok := c.ids[slug]; ok {
		return &talkspb.GetChannelResponse{Channel: &talkspb.Channel{Name: "channels/" + slug, Id: id, Title: "Channel " + slug}}, nil
	}
	return nil, status.Error(codes.NotFound, "there is no such channel")
}

// site is the module with its own database and a fake talks module with 2,010 channels.
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
	following.New(following.Deps{DB: s.database.Open("following"), Channels: channels{ids: ids}}).Register(s)
	return s
}

// asPerson returns the context of a call made for a person.
func asPerson(t testing.TB, p caller.Person) context.Context {
	return caller.With(t.Context(), caller.Call{Program: "web-tier", Person: &p})
}

func (s *site) follow(t testing.TB, p caller.Person, slug string) {
	t.Helper()
	if _, err := s.Follow(asPerson(t, p), &followingpb.FollowRequest{Channel: "channels/" + slug}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) follows(t testing.TB, p caller.Person, slug string) bool {
	t.Helper()
	response, err := s.GetFollow(asPerson(t, p), &followingpb.GetFollowRequest{Channel: "channels/" + slug})
	if err != nil {
		t.Fatal(err)
	}
	return response.Following
}

func (s *site) followers(t testing.TB, channel, after int64, size int32) []int64 {
	t.Helper()
	response, err := s.ListFollowers(t.Context(), &followingpb.ListFollowersRequest{ChannelId: channel, AfterAccountId: after, PageSize: size})
	if err != nil {
		t.Fatal(err)
	}
	return response.AccountIds
}

func TestFollowAndUnfollowAreIdempotent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for range 2 {
		s.follow(t, ada, "c1")
	}
	s.follow(t, grace, "c1")
	if got := s.followers(t, 2, 0, 0); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("got followers %v, want [1 2]", got)
	}
	if !s.follows(t, ada, "c1") || !s.follows(t, ada, "C1") || s.follows(t, ada, "c2") {
		t.Error("GetFollow does not report c1, and only c1, as followed")
	}
	for range 2 {
		if _, err := s.Unfollow(asPerson(t, ada), &followingpb.UnfollowRequest{Channel: "channels/c1"}); err != nil {
			t.Fatal(err)
		}
	}
	if s.follows(t, ada, "c1") || !s.follows(t, grace, "c1") {
		t.Error("Unfollow did not delete ada's follow, and only hers")
	}
}

func TestUnknownChannelIsNotFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.Follow(asPerson(t, ada), &followingpb.FollowRequest{Channel: "channels/nowhere"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("follow: got %v, want NotFound", err)
	}
	_, err = s.Unfollow(asPerson(t, ada), &followingpb.UnfollowRequest{Channel: "channels/nowhere"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("unfollow: got %v, want NotFound", err)
	}
	for _, slug := range []string{"nowhere", "", "a b"} {
		if s.follows(t, ada, slug) {
			t.Errorf("channel %q: got followed, want not", slug)
		}
	}
}

// The limit holds for concurrent requests. Following a channel again does not count.
func TestAccountFollowsAtMost2000Channels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := s.database.Superuser().Exec(`
		insert into following.follow (channel_id, account_id, channel, channel_title)
		select i, 1, 'channels/c' || i - 1, 'Channel'
		from   generate_series(1, 1997) i`); err != nil {
		t.Fatal(err)
	}
	var requests sync.WaitGroup
	for i := range 8 {
		requests.Go(func() {
			_, err := s.Follow(asPerson(t, ada), &followingpb.FollowRequest{Channel: fmt.Sprintf("channels/c%d", 2000+i)})
			var f *apperror.Failure
			if err != nil && (!errors.As(err, &f) || f.Reason != "TOO_MANY_FOLLOWS") {
				t.Error(err)
			}
		})
	}
	requests.Wait()
	var count int
	if err := s.database.Superuser().QueryRow(`select count(*) from following.follow where account_id = 1`).Scan(&count); err != nil || count != 2000 {
		t.Errorf("got %d follows, %v; want 2000", count, err)
	}
	s.follow(t, ada, "c5")
	s.follow(t, grace, "c2000")
}

func TestListFollowsPagesFromLatestToOldest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 12 {
		s.follow(t, ada, fmt.Sprintf("c%d", i))
	}
	s.follow(t, grace, "c100")
	var names []string
	for token := ""; ; {
		response, err := s.ListFollows(asPerson(t, ada), &followingpb.ListFollowsRequest{PageSize: 5, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range response.Channels {
			names = append(names, strings.TrimPrefix(c.Channel, "channels/c"))
		}
		if token == "" {
			// A new follow between two pages does not change the second.
			s.follow(t, ada, "c200")
			_, err := s.ListFollows(asPerson(t, grace), &followingpb.ListFollowsRequest{PageSize: 5, PageToken: response.NextPageToken})
			var f *apperror.Failure
			if !errors.As(err, &f) || f.Reason != "PAGE_TOKEN_INVALID" {
				t.Errorf("another account's token: got %v, want PAGE_TOKEN_INVALID", err)
			}
		}
		if token = response.NextPageToken; token == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "11 10 9 8 7 6 5 4 3 2 1 0" {
		t.Errorf("got follows %s, want 11 down to 0", got)
	}
}

// The pages list every follower once, while others follow and unfollow.
func TestListFollowersPagesAreStable(t *testing.T) {
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
		page := s.followers(t, 7, after, 1<<30)
		if seen == 0 {
			if len(page) != 10_000 {
				t.Fatalf("got a page of %d, want 10000", len(page))
			}
			if _, err := admin.Exec(`
				delete from following.follow where channel_id = 7 and account_id <= 20;
				insert into following.follow (channel_id, account_id, channel, channel_title)
				values (7, 3, '', '')`); err != nil {
				t.Fatal(err)
			}
		}
		for _, account := range page {
			if account <= after {
				t.Fatalf("got account %d after %d, want ascending ids", account, after)
			}
			after = account
		}
		seen += len(page)
		if len(page) < 10_000 {
			break
		}
	}
	if seen != 25_000 {
		t.Errorf("got %d followers, want 25000", seen)
	}
	if got := len(s.followers(t, 7, 0, 0)); got != 1000 {
		t.Errorf("without a page size: got %d followers, want 1000", got)
	}
	if got := s.followers(t, 8, 0, 0); len(got) != 0 {
		t.Errorf("channel without followers: got %v", got)
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
			page := s.followers(b, 7, after, 10_000)
			after = page[len(page)-1]
		}
	}
}
