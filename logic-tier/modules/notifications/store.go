package notifications

import (
	"context"
	"slices"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

// event is what there is to tell.
type event struct {
	id int64
	// subject is the name of the talk or the operation that it tells of.
	subject, title, channel, channelName string
	// account is whose operation it is; 0 for a talk.
	account   int64
	failed    bool // the operation did
	published time.Time
}

// item is an event in somebody's inbox.
type item struct {
	event
	arrival int64
	read    bool
}

func scanEvent(columns func(...any) error) (e event, err error) {
	err = columns(&e.id, &e.subject, &e.title, &e.channel, &e.channelName, &e.account, &e.failed, &e.published)
	return e, err
}

func scanItem(columns func(...any) error) (i item, err error) {
	err = columns(&i.id, &i.subject, &i.title, &i.channel, &i.channelName, &i.account, &i.failed, &i.published, &i.arrival, &i.read)
	return i, err
}

const epochStatement = `
select epoch
from   notifications.epoch`

func (s store) epoch(ctx context.Context) (string, error) {
	epoch, _, err := postgres.One(ctx, s.db, postgres.Value[string], epochStatement)
	return epoch, err
}

// One statement, so that the count and the cursor are of one moment.
const inboxStatement = `
select (select epoch from notifications.epoch),
       coalesce((select max(i.arrival) from notifications.inbox i where i.account = $1), r.trimmed_through, 0),
       (select count(*)
        from   (select
                from   notifications.inbox i
                where  i.account = $1
                  and  i.arrival > coalesce(r.read_through, 0)
                  and  not i.read
                limit  $2) unread)
from   (select) nothing
left join notifications.reader r on r.account = $1`

func (s store) inbox(ctx context.Context, account int64) (newest cursor, unread int, err error) {
	_, _, err = postgres.One(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&newest.epoch, &newest.sequence, &unread)
	}, inboxStatement, account, maxUnread)
	return newest, unread, err
}

const itemsBeforeStatement = `
select e.id, e.subject, e.title, e.channel, e.channel_title, coalesce(e.account, 0), e.failed, e.publish_time, i.arrival,
       i.read or i.arrival <= coalesce((select read_through from notifications.reader where account = $1), 0)
from   notifications.inbox i
join   notifications.event e on e.id = i.event
where  i.account = $1
  and  i.arrival < $2
order by i.arrival desc
limit  $3`

func (s store) itemsBefore(ctx context.Context, account, arrival int64, most int) ([]item, error) {
	return postgres.Collect(ctx, s.db, scanItem, itemsBeforeStatement, account, arrival, most)
}

const itemsAfterStatement = `
select e.id, e.subject, e.title, e.channel, e.channel_title, coalesce(e.account, 0), e.failed, e.publish_time, i.arrival,
       i.read or i.arrival <= coalesce((select read_through from notifications.reader where account = $1), 0)
from   notifications.inbox i
join   notifications.event e on e.id = i.event
where  i.account = $1
  and  i.arrival > $2
order by i.arrival
limit  $3`

func (s store) itemsAfter(ctx context.Context, account, arrival int64, most int) ([]item, error) {
	return postgres.Collect(ctx, s.db, scanItem, itemsAfterStatement, account, arrival, most)
}

// bounds is between which cursors an inbox can be followed.
type bounds struct {
	epoch          string
	trimmed, drawn int64
}

const boundsStatement = `
select (select epoch from notifications.epoch),
       coalesce((select trimmed_through from notifications.reader where account = $1), 0),
       (select last_value from notifications.arrival)`

func (s store) bounds(ctx context.Context, account int64) (b bounds, err error) {
	b, _, err = postgres.One(ctx, s.db, func(columns func(...any) error) (b bounds, err error) {
		err = columns(&b.epoch, &b.trimmed, &b.drawn)
		return b, err
	}, boundsStatement, account)
	return b, err
}

const readItemsStatement = `
update notifications.inbox
set    read = true
where  account = $1
  and  arrival = any($2)
  and  not read`

const readThroughStatement = `
insert into notifications.reader as r (account, read_through)
values ($1, $2)
on conflict (account) do update
set    read_through = excluded.read_through
where  r.read_through < excluded.read_through`

func (s store) markRead(ctx context.Context, account int64, arrivals []int64, through int64) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if len(arrivals) > 0 {
			if _, err := postgres.Exec(ctx, tx, readItemsStatement, account, pq.Array(arrivals)); err != nil {
				return err
			}
		}
		if through > 0 {
			if _, err := postgres.Exec(ctx, tx, readThroughStatement, account, through); err != nil {
				return err
			}
		}
		return nil
	})
}

// A talk is published once, and an operation ends once: the name is the event's
// natural key, and the same message again finds the event that is there.
const beginFanOutStatement = `
insert into notifications.event as e (subject, title, channel, channel_title, account, failed, publish_time)
values ($1, $2, $3, $4, nullif($5, 0), $6, $7)
on conflict (subject) do update set subject = e.subject
returning e.id, e.last_account, e.complete`

// progress is how far an event's fan-out is.
type progress struct {
	event       int64
	lastAccount int64
	complete    bool
}

func scanProgress(columns func(...any) error) (p progress, err error) {
	err = columns(&p.event, &p.lastAccount, &p.complete)
	return p, err
}

func (s store) beginFanOut(ctx context.Context, e event) (progress, error) {
	p, _, err := postgres.One(ctx, s.db, scanProgress, beginFanOutStatement, e.subject, e.title, e.channel, e.channelName, e.account, e.failed, e.published)
	return p, err
}

// The row lock lets one consumer at a time work an event, should a message be
// delivered to two.
const checkpointStatement = `
select id, last_account, complete
from   notifications.event
where  id = $1
for    update`

// Lanes are locked in ascending order: two chunks that share some never wait
// for each other in a circle.
const lockLanesStatement = `
select pg_advisory_xact_lock(1953064035, lane)
from   unnest($1::integer[]) lane`

const drawArrivalStatement = `
select nextval('notifications.arrival')`

const deliverStatement = `
insert into notifications.inbox (account, arrival, event)
select account, $2, $3
from   unnest($1::bigint[]) account`

const advanceStatement = `
update notifications.event
set    last_account = $2,
       complete     = $3
where  id = $1`

const announceStatement = `
select pg_notify('` + announceChannel + `', $1)`

// announceChannel is the channel of NOTIFY that announcements travel on.
const announceChannel = "notifications_arrived"

// Lanes: inboxes are filled one chunk at a time in each lane, so that in one
// inbox numbers ascend in the order of commits. A chunk of a big channel has
// neighbouring accounts: a lane is a run of them, so it holds few lanes.
const (
	lanes         = 64
	laneOfAccount = 12 // bits of the account's number within one run
)

func lanesOf(accounts []int64) pq.Int32Array {
	var taken pq.Int32Array
	for _, account := range accounts {
		lane := int32(account >> laneOfAccount % lanes)
		if len(taken) == 0 || taken[len(taken)-1] != lane {
			taken = append(taken, lane)
		}
	}
	slices.Sort(taken)
	return slices.Compact(taken)
}

// place is where a talk stands in what its channel published; the zero place is
// nowhere.
type place struct{ channel, number int64 }

const throughStatement = `
select through
from   notifications.channel
where  channel = $1`

// through returns up to which number a channel's followers were told everything.
func (s store) through(ctx context.Context, channel int64) (int64, error) {
	number, _, err := postgres.One(ctx, s.db, postgres.Value[int64], throughStatement, channel)
	return number, err
}

const passStatement = `
insert into notifications.channel as c (channel, through)
values ($1, $2)
on conflict (channel) do update
set    through = excluded.through
where  c.through < excluded.through`

// pass notes that a channel's followers were told everything up to a place.
func (s store) pass(ctx context.Context, p place) error { return pass(ctx, s.db, p) }

func pass(ctx context.Context, q postgres.Querier, p place) error {
	if p.number == 0 {
		return nil
	}
	_, err := postgres.Exec(ctx, q, passStatement, p.channel, p.number)
	return err
}

// deliver puts an event into a chunk of inboxes, ascending and all above the
// checkpoint; checkpoint, rows and announcement commit together, and with the last
// chunk its place in the channel. It returns false, and changes nothing, when the
// fan-out has gone past them already.
func (s store) deliver(ctx context.Context, event int64, after int64, accounts []int64, last bool, of place) (delivered bool, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		at, _, err := postgres.One(ctx, tx, scanProgress, checkpointStatement, event)
		if err != nil || at.complete || at.lastAccount != after {
			return err
		}
		through := after
		if len(accounts) > 0 {
			through = accounts[len(accounts)-1]
			if _, err := postgres.Exec(ctx, tx, lockLanesStatement, lanesOf(accounts)); err != nil {
				return err
			}
			arrival, _, err := postgres.One(ctx, tx, postgres.Value[int64], drawArrivalStatement)
			if err != nil {
				return err
			}
			if _, err := postgres.Exec(ctx, tx, deliverStatement, pq.Array(accounts), arrival, event); err != nil {
				return err
			}
			if _, err := postgres.Exec(ctx, tx, announceStatement, announcement{event, arrival, accounts}.encode()); err != nil {
				return err
			}
		}
		if _, err := postgres.Exec(ctx, tx, advanceStatement, event, through, last); err != nil {
			return err
		}
		if last {
			if err := pass(ctx, tx, of); err != nil {
				return err
			}
		}
		delivered = true
		return nil
	})
	return delivered, err
}

const eventStatement = `
select id, subject, title, channel, channel_title, coalesce(account, 0), failed, publish_time
from   notifications.event
where  id = $1`

func (s store) event(ctx context.Context, id int64) (event, bool, error) {
	return postgres.One(ctx, s.db, scanEvent, eventStatement, id)
}

// The accounts whose inboxes are looked at next; from the primary key alone.
const nextAccountsStatement = `
with recursive account as (
    (select min(account) as account, 1 as n from notifications.inbox where account > $1)
    union all
    select (select min(i.account) from notifications.inbox i where i.account > a.account), a.n + 1
    from   account a
    where  a.account is not null and a.n < $2
)
select account
from   account
where  account is not null`

func (s store) nextAccounts(ctx context.Context, after int64, most int) ([]int64, error) {
	return postgres.Collect(ctx, s.db, postgres.Value[int64], nextAccountsStatement, after, most)
}

// Where the oldest item to keep is; nothing is returned for an inbox that is
// not over its bound.
const trimStatement = `
with excess as (
    select a.account, edge.arrival
    from   unnest($1::bigint[]) a (account)
    cross join lateral (select i.arrival
                        from   notifications.inbox i
                        where  i.account = a.account
                        order by i.arrival desc
                        offset $2
                        limit  1) edge
), noted as (
    insert into notifications.reader as r (account, trimmed_through)
    select account, arrival from excess
    on conflict (account) do update
    set    trimmed_through = greatest(r.trimmed_through, excluded.trimmed_through)
)
delete from notifications.inbox i
using  excess x
where  i.account = x.account
  and  i.arrival <= x.arrival`

// trim removes what is beyond the newest keep items of the inboxes.
func (s store) trim(ctx context.Context, accounts []int64, keep int) (int64, error) {
	return postgres.Exec(ctx, s.db, trimStatement, pq.Array(accounts), keep)
}
