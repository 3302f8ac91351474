package notifications_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/modules/notifications"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// patience bounds every wait for a condition.
const patience = 3 * time.Minute

// accounts is the neighbour that knows whose a session is: its token is
// "session-of-" and the account's number.
type accounts struct{ accountspb.AccountsClient }

func (accounts) VerifySession(_ context.Context, r *accountspb.VerifySessionRequest, _ ...grpc.CallOption) (*accountspb.VerifySessionResponse, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(r.Token, "session-of-"), 10, 64)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "no such session")
	}
	return &accountspb.VerifySessionResponse{Account: &accountspb.Account{Id: id}}, nil
}

// following is the neighbour that knows who follows a channel: everybody from
// the first account to the last.
type following struct {
	followingpb.FollowingClient
	mu       sync.Mutex
	channels map[int64]crowd
	fail     func(after int64) error
}

// crowd is accounts from first to last.
type crowd struct{ first, last int64 }

func (f *following) ListFollowers(ctx context.Context, r *followingpb.ListFollowersRequest, _ ...grpc.CallOption) (*followingpb.ListFollowersResponse, error) {
	f.mu.Lock()
	c, fail := f.channels[r.ChannelId], f.fail
	f.mu.Unlock()
	if fail != nil {
		if err := fail(r.AfterAccountId); err != nil {
			return nil, err
		}
	}
	response := &followingpb.ListFollowersResponse{}
	for id := max(c.first, r.AfterAccountId+1); id <= c.last && len(response.AccountIds) < int(r.PageSize); id++ {
		response.AccountIds = append(response.AccountIds, id)
	}
	return response, ctx.Err()
}

// channels is the neighbour that knows what each channel published.
type channels struct {
	talkspb.TalksClient
	mu           sync.Mutex
	publications map[int64][]*talkspb.TalkPublished
}

func (c *channels) ListPublications(_ context.Context, r *talkspb.ListPublicationsRequest, _ ...grpc.CallOption) (*talkspb.ListPublicationsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	response := &talkspb.ListPublicationsResponse{}
	for _, p := range c.publications[r.ChannelId] {
		if p.Number > r.AfterNumber && len(response.Publications) < int(r.PageSize) {
			response.Publications = append(response.Publications, p)
		}
	}
	return response, nil
}

// add publishes a talk, and returns what is said of it.
func (c *channels) add(channel int64, title string) *talkspb.TalkPublished {
	name := fmt.Sprintf("channels/c%d", channel)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &talkspb.TalkPublished{
		ChannelId: channel, Channel: name, ChannelTitle: fmt.Sprintf("Channel %d", channel),
		Talk: name + "/talks/" + title, Title: title, PublishTime: timestamppb.Now(), Number: int64(len(c.publications[channel])) + 1,
	}
	c.publications[channel] = append(c.publications[channel], p)
	return p
}

// site is a database, and any number of replicas of the module on it.
type site struct {
	t         *testing.T
	database  *postgrestest.Database
	inside    *sql.DB
	publisher *postgres.DB
	following *following
	channels  *channels
}

func newSite(t *testing.T, followers map[int64]crowd) *site {
	t.Helper()
	database := postgrestest.New(t)
	s := &site{
		t: t, database: database, inside: database.Superuser(), publisher: database.Open("talks"),
		following: &following{channels: followers}, channels: &channels{publications: map[int64][]*talkspb.TalkPublished{}},
	}
	if err := s.engine().Declare(t.Context(), notifications.Topology()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) engine() *postgresqueue.Queue {
	return postgresqueue.New(s.database.Open("queue"), s.database.Options("queue"), slog.New(slog.DiscardHandler))
}

// replica is the module in one process.
type replica struct {
	notificationspb.NotificationsServer
	client notificationspb.NotificationsClient
	module *notifications.Module
	engine *postgresqueue.Queue
	stop   func()
}

func (r *replica) RegisterService(_ *grpc.ServiceDesc, service any) {
	r.NotificationsServer = service.(notificationspb.NotificationsServer)
}

// start runs a replica until stop, or the end of the test.
func (s *site) start() *replica {
	s.t.Helper()
	r := &replica{engine: s.engine()}
	module := notifications.New(notifications.Needs{
		DB: s.database.Open("notifications"), Listen: s.database.Options("notifications"),
		Accounts: accounts{}, Following: s.following, Talks: s.channels, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	r.module = module
	module.Register(r)
	channel := new(inprocgrpc.Channel)
	module.Register(channel)
	r.client = notificationspb.NewNotificationsClient(channel)

	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	run := func(do func(context.Context) error) {
		running.Go(func() {
			if err := do(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	run(r.engine.Run)
	run(module.Run)
	for _, c := range module.Consumers() {
		run(func(ctx context.Context) error { return r.engine.Consume(ctx, c) })
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	s.t.Cleanup(r.stop)
	return r
}

// publish publishes a talk and says so, as the talks module does.
func (s *site) publish(by *postgresqueue.Queue, channel int64, title string) {
	s.say(by, s.channels.add(channel, title))
}

// say says that a talk is published.
func (s *site) say(by *postgresqueue.Queue, published *talkspb.TalkPublished) {
	err := s.publisher.InTransaction(s.t.Context(), func(tx *postgres.Tx) error {
		_, err := by.Publish(s.t.Context(), tx, queue.Message{
			Exchange: "talks", RoutingKey: "talk.published", Type: "talk.published", Body: published,
		})
		return err
	})
	if err != nil && s.t.Context().Err() == nil {
		s.t.Error(err)
	}
}

func (s *site) count(statement string, arguments ...any) (n int) {
	s.t.Helper()
	if err := s.inside.QueryRowContext(s.t.Context(), statement, arguments...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// until waits for a condition.
func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("in %s it does not come: %s", patience, what)
		}
	}
}

// fannedOut waits until no message is left.
func (s *site) fannedOut() {
	s.t.Helper()
	s.until("the end of every fan-out", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
}

// as is a call by an account.
func as(ctx context.Context, account int64) context.Context {
	return caller.With(ctx, caller.Call{Program: "web-tier", Person: &caller.Person{ID: account}})
}

// inbox reads an inbox from its beginning, and checks that it ascends.
func (s *site) inbox(r *replica, account int64) (ids, titles []string) {
	s.t.Helper()
	epoch, _, _ := strings.Cut(s.cursor(r, account), "-")
	for after, more := epoch+"-0", true; more; {
		page, err := r.ListNotifications(as(s.t.Context(), account), &notificationspb.ListNotificationsRequest{After: after, PageSize: 7})
		if err != nil {
			s.t.Fatal(err)
		}
		if page.Reset_ != nil {
			s.t.Fatalf("the inbox of %d starts with a reset: %s", account, page.Reset_.Reason)
		}
		for _, n := range page.Notifications {
			if len(ids) > 0 && sequence(n.Id) <= sequence(ids[len(ids)-1]) {
				s.t.Fatalf("in the inbox of %d, %s follows %s", account, n.Id, ids[len(ids)-1])
			}
			ids, titles = append(ids, n.Id), append(titles, n.Title)
		}
		after, more = page.Cursor, page.More
	}
	return ids, titles
}

func (s *site) cursor(r *replica, account int64) string {
	s.t.Helper()
	answer, err := r.GetInbox(as(s.t.Context(), account), &notificationspb.GetInboxRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.Cursor
}

func (s *site) unread(r *replica, account int64) int {
	s.t.Helper()
	answer, err := r.GetInbox(as(s.t.Context(), account), &notificationspb.GetInboxRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return int(answer.UnreadCount)
}

func sequence(id string) int64 {
	_, digits, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// follower follows one inbox as a web tier does: it subscribes, reads what it
// missed, goes live, and passes over what it has.
type follower struct {
	account int64
	cursor  string
	ids     []string
	titles  []string
}

func (f *follower) take(n *notificationspb.Notification) {
	if sequence(n.Id) > sequence(f.cursor) {
		f.cursor = n.Id
		f.ids, f.titles = append(f.ids, n.Id), append(f.titles, n.Title)
	}
}

// follow follows until most more have come, or ctx ends.
func (f *follower) follow(ctx context.Context, r *replica, most int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.client.StreamNotifications(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Subscribe_{
		Subscribe: &notificationspb.StreamNotificationsRequest_Subscribe{Subscription: 1, SessionToken: fmt.Sprintf("session-of-%d", f.account)},
	}}); err != nil {
		return err
	}
	for had := len(f.ids); len(f.ids) < had+most; {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		switch event := response.Event.(type) {
		case *notificationspb.StreamNotificationsResponse_Subscribed_, *notificationspb.StreamNotificationsResponse_Gap_:
			for more := true; more; {
				page, err := r.ListNotifications(as(ctx, f.account), &notificationspb.ListNotificationsRequest{After: f.cursor})
				if err != nil {
					return err
				}
				if page.Reset_ != nil {
					return fmt.Errorf("reset: %s", page.Reset_.Reason)
				}
				for _, n := range page.Notifications {
					f.take(n)
				}
				more = page.More
			}
		case *notificationspb.StreamNotificationsResponse_Arrived_:
			f.take(event.Arrived.Notification)
		case *notificationspb.StreamNotificationsResponse_Ended_:
			return errors.New(event.Ended.Reason)
		}
	}
	return nil
}
