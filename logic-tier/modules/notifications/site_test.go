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

// waitTimeout bounds each wait for a condition.
const waitTimeout = 3 * time.Minute

// accounts is a fake accounts module. The token of an account's session is "session-of-"
// and the account's id.
type accounts struct{ accountspb.AccountsClient }

func (accounts) VerifySession(_ context.Context, r *accountspb.VerifySessionRequest, _ ...grpc.CallOption) (*accountspb.VerifySessionResponse, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(r.Token, "session-of-"), 10, 64)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "no such session")
	}
	return &accountspb.VerifySessionResponse{Account: &accountspb.Account{Id: id}}, nil
}

// following is a fake following module. A channel's followers are a range of accounts.
type following struct {
	followingpb.FollowingClient
	mu       sync.Mutex
	channels map[int64]accountRange
	fail     func(after int64) error // if not nil, called before each page
}

// accountRange is a range of account ids, both ends included.
type accountRange struct{ first, last int64 }

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

// channels is a fake talks module.
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

// add adds a talk to a channel and returns its message.
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

// site is a database with any number of replicas of the module.
type site struct {
	t         *testing.T
	database  *postgrestest.Database
	superuser *sql.DB
	publisher *postgres.DB
	following *following
	channels  *channels
}

func newSite(t *testing.T, followers map[int64]accountRange) *site {
	t.Helper()
	database := postgrestest.New(t)
	s := &site{
		t: t, database: database, superuser: database.Superuser(), publisher: database.Open("talks"),
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

// replica is one instance of the module.
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

// start runs a replica until its stop function is called or the test ends.
func (s *site) start() *replica {
	s.t.Helper()
	r := &replica{engine: s.engine()}
	module := notifications.New(notifications.Deps{
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
	run := func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil {
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

// publish adds a talk to a channel and publishes its message, as the talks module does.
func (s *site) publish(engine *postgresqueue.Queue, channel int64, title string) {
	s.publishMessage(engine, s.channels.add(channel, title))
}

// publishMessage publishes the message of a talk.
func (s *site) publishMessage(engine *postgresqueue.Queue, published *talkspb.TalkPublished) {
	err := s.publisher.InTransaction(s.t.Context(), func(tx *postgres.Tx) error {
		_, err := engine.Publish(s.t.Context(), tx, queue.Message{
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
	if err := s.superuser.QueryRowContext(s.t.Context(), statement, arguments...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// waitFor waits until a condition holds.
func (s *site) waitFor(description string, condition func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(waitTimeout); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("timed out after %s waiting for %s", waitTimeout, description)
		}
	}
}

// waitForFanOuts waits until no message is left.
func (s *site) waitForFanOuts() {
	s.t.Helper()
	s.waitFor("all fan-outs to complete", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
}

// asAccount returns the context of a call made by an account.
func asAccount(ctx context.Context, account int64) context.Context {
	return caller.With(ctx, caller.Call{Program: "web-tier", Person: &caller.Person{ID: account}})
}

// inbox reads an inbox from its oldest item and checks that ids ascend.
func (s *site) inbox(r *replica, account int64) (ids, titles []string) {
	s.t.Helper()
	epoch, _, _ := strings.Cut(s.cursor(r, account), "-")
	for after, more := epoch+"-0", true; more; {
		page, err := r.ListNotifications(asAccount(s.t.Context(), account), &notificationspb.ListNotificationsRequest{After: after, PageSize: 7})
		if err != nil {
			s.t.Fatal(err)
		}
		if page.Reset_ != nil {
			s.t.Fatalf("inbox of account %d: got reset %s", account, page.Reset_.Reason)
		}
		for _, n := range page.Notifications {
			if len(ids) > 0 && sequence(n.Id) <= sequence(ids[len(ids)-1]) {
				s.t.Fatalf("inbox of account %d: got %s after %s, want ascending ids", account, n.Id, ids[len(ids)-1])
			}
			ids, titles = append(ids, n.Id), append(titles, n.Title)
		}
		after, more = page.Cursor, page.More
	}
	return ids, titles
}

func (s *site) cursor(r *replica, account int64) string {
	s.t.Helper()
	response, err := r.GetInbox(asAccount(s.t.Context(), account), &notificationspb.GetInboxRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return response.Cursor
}

func (s *site) unread(r *replica, account int64) int {
	s.t.Helper()
	response, err := r.GetInbox(asAccount(s.t.Context(), account), &notificationspb.GetInboxRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return int(response.UnreadCount)
}

func sequence(id string) int64 {
	_, digits, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// follower follows one inbox as the web tier does: it subscribes, reads the items it
// missed, then receives live ones, and ignores duplicates.
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

// follow follows the inbox until n more items have arrived or ctx is done.
func (f *follower) follow(ctx context.Context, r *replica, n int) error {
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
	for want := len(f.ids) + n; len(f.ids) < want; {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		switch event := response.Event.(type) {
		case *notificationspb.StreamNotificationsResponse_Subscribed_, *notificationspb.StreamNotificationsResponse_Gap_:
			for more := true; more; {
				page, err := r.ListNotifications(asAccount(ctx, f.account), &notificationspb.ListNotificationsRequest{After: f.cursor})
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
