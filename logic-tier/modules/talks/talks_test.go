package talks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/modules/talks"
	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

var (
	ada   = caller.Person{ID: 1, Handle: "ada"}
	grace = caller.Person{ID: 2, Handle: "grace"}
)

// listenerQueue is a queue that receives the module's talk.published messages.
const listenerQueue = "listener"

// site is the module with a database of its own.
type site struct {
	talks    talkspb.TalksServer
	channels talkspb.ChannelsServer
	module   *talks.Module
	admin    *sql.DB
	media    *media
	work     *work
	mediaDB  *postgres.DB // of the role "media"
	broker   *postgresqueue.Queue
}

func (s *site) RegisterService(_ *grpc.ServiceDesc, service any) {
	switch service := service.(type) {
	case talkspb.TalksServer:
		s.talks = service
	case talkspb.ChannelsServer:
		s.channels = service
	}
}

func newSite(t testing.TB) *site {
	t.Helper()
	database := postgrestest.New(t)
	log := slog.New(slog.DiscardHandler)
	broker := postgresqueue.New(database.Open("queue"), database.Options("queue"), log)
	if err := broker.Declare(t.Context(), talks.Topology(), queue.Topology{
		Queues: []queue.Queue{{Name: listenerQueue, Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.published"}}}},
	}); err != nil {
		t.Fatal(err)
	}
	s := &site{admin: database.Superuser(), mediaDB: database.Open("media"), broker: broker}
	s.media, s.work = &media{}, &work{}
	s.module = talks.New(talks.Deps{DB: database.Open("talks"), Publisher: broker, Media: s.media, Work: s.work, Handles: handles{}, Log: log})
	s.module.Register(s)
	return s
}

// asPerson returns the context of a call made for a person.
func asPerson(t testing.TB, p caller.Person) context.Context {
	return caller.With(t.Context(), caller.Call{Program: "web-tier", Person: &p})
}

// wantFailure fails the test unless err is a failure with the given reason.
func wantFailure(t testing.TB, err error, reason string) *apperror.Failure {
	t.Helper()
	var f *apperror.Failure
	if !errors.As(err, &f) || f.Reason != reason {
		t.Fatalf("got %v, want %s", err, reason)
	}
	return f
}

// wantFieldFailure fails the test unless err has a single violation, of the given field.
func wantFieldFailure(t testing.TB, err error, field string) {
	t.Helper()
	var f *apperror.Failure
	if !errors.As(err, &f) || f.Kind != apperror.Invalid || len(f.Violations) != 1 || f.Violations[0].Field != field {
		t.Fatalf("got %v, want a violation of %s", err, field)
	}
}

// createChannel creates a channel that a person owns and returns its name.
func (s *site) createChannel(t testing.TB, p caller.Person, slug string) string {
	t.Helper()
	response, err := s.channels.CreateChannel(asPerson(t, p), &talkspb.CreateChannelRequest{ChannelId: slug, Title: "Channel " + slug})
	if err != nil {
		t.Fatal(err)
	}
	return response.Channel.Name
}

// publish publishes a talk on a channel that the person owns.
func (s *site) publish(t testing.TB, p caller.Person, channel string, talk *talkspb.Talk) *talkspb.Talk {
	t.Helper()
	response, err := s.talks.CreateTalk(asPerson(t, p), &talkspb.CreateTalkRequest{Parent: channel, Talk: talk})
	if err != nil {
		t.Fatal(err)
	}
	return response.Talk
}

func (s *site) list(t testing.TB, r *talkspb.ListTalksRequest) *talkspb.ListTalksResponse {
	t.Helper()
	response, err := s.talks.ListTalks(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// titles returns the titles of a list's talks.
func titles(response *talkspb.ListTalksResponse) []string {
	var titles []string
	for _, talk := range response.Talks {
		titles = append(titles, talk.Title)
	}
	return titles
}

// publishedCount returns the number of messages in the listener queue.
func (s *site) publishedCount(t testing.TB) (n int) {
	t.Helper()
	if err := s.admin.QueryRow(`
		select count(*)
		from   queue.message m
		join   queue.queue q on q.id = m.queue_id
		where  q.name = $1`, listenerQueue).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// checkTalkCounts fails the test unless every channel's talk_count is its number of talks.
func (s *site) checkTalkCounts(t testing.TB) {
	t.Helper()
	var mismatch string
	err := s.admin.QueryRow(`
		select 'channel ' || c.slug || ': got talk_count ' || c.talk_count || ', want ' || count(t.id)
		from   talks.channel c
		left join talks.talk t on t.channel_id = c.id and t.withdrawn_at is null
		group by c.id
		having c.talk_count <> count(t.id)
		limit  1`).Scan(&mismatch)
	if !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("%s (error %v)", mismatch, err)
	}
}

// importTalks imports talks with the given titles into a channel.
func (s *site) importTalks(t testing.TB, event string, titles ...string) {
	t.Helper()
	r := &talkspb.BatchImportTalksRequest{Channels: []*talkspb.Channel{{Name: "channels/" + event, Title: event}}}
	for i, title := range titles {
		r.Talks = append(r.Talks, &talkspb.Talk{Name: fmt.Sprintf("channels/%s/talks/talk-%d", event, i), Title: title})
	}
	if _, err := s.talks.BatchImportTalks(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}
