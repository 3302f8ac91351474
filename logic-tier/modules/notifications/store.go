package notifications

import (
	"context"
	"slices"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

// event is a published talk or a finished operation.
type event struct {
	id int64
	// subject is the name of the talk or the operation.
	subject, title, channel, channelTitle string
	// account owns the operation; 0 for a talk.
	account   int64
	failed    bool // the operation failed
	published time.Time
}

// item is an event in an account's inbox.
type item struct {
	event
	arrival int64
	read    bool
}

func scanEvent(columns func(...any) error) (e event, err error) {
	err = columns(&e.id, &e.subject, &e.title, &e.channel, &e.channelTitle, &e.account, &e.failed, &e.published)
	return e, err
}

func scanItem(columns func(...any) error) (i item, err error) {
	err = columns(&i.id, &i.subject, &i.title, &i.channel, &i.channelTitle, &i.account, &i.failed, &i.published, &i.arrival, &i.read)
	return i, err
}

const epochStatement = `
select epoch
from   notifications.epoch`

func (s store) epoch(ctx context.Context) (string, error) {
	epoch, _, err := postgres.One(ctx, s.db, postgres.Value[string], epochStatement)
	return epoch, err
}

// One statement, so that the count and the cursor come from one snapshot.
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
from   (select) single_row
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

func (s store) itemsBefore(ctx context.Context, account, arrival int64, limit int) ([]item, error) {
	return postgres.Collect(ctx, s.db, scanItem, itemsBeforeStatement, account, arrival, limit)
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

func (s store) itemsAfter(ctx context.Context, account, arrival int64, limit int) ([]item, error) {
	return postgres.Collect(ctx, s.db, scanItem, itemsAfterStatement, account, arrival, limit)
}

// bounds limits the cursors that are valid for an inbox: from trimmedThrough, the last
// arrival trimmed from it, to lastArrival, the last arrival number drawn for any inbox.
type bounds struct {
	epoch                       string
	trimmedThrough, lastArrival int64
}

const boundsStatement = `
select (select epoch from notifications.epoch),
       coalesce((select trimmed_through from notifications.reader where account = $1), 0),
       (select last_value from notifications.arrival)`

func (s store) bounds(ctx context.Context, account int64) (b bounds, err error) {
	b, _, err = postgres.One(ctx, s.db, func(columns func(...any) error) (b bounds, err error) {
		err = columns(&b.epoch, &b.trimmedThrough, &b.lastArrival)
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

// A talk is published once and an operation ends once: the name is the event's natural
// key, and a redelivered message finds the existing event.
const beginFanOutStatement = `
insert into notifications.event as e (subject, title, channel, channel_title, account, failed, publish_time)
values ($1, $2, $3, $4, nullif($5, 0), $6, $7)
on conflict (subject) do update set subject = e.subject
returning e.id, e.last_account, e.complete`

// progress is the checkpoint of an event's fan-out.
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
	p, _, err := postgres.One(ctx, s.db, scanProgress, beginFanOutStatement, e.subject, e.title, e.channel, e.channelTitle, e.account, e.failed, e.published)
	return p, err
}

// The row lock serialises the consumers of an event, in case its message is delivered to
// two.
const lockCheckpointStatement = `
select id, last_account, complete
from   notifications.event
where  id = $1
for    update`

// Lanes are locked in ascending order, so that two chunks with lanes in common cannot
// deadlock.
const lockLanesStatement = `
select pg_advisory_xact_lock(1953064035, lane)
from   unnest($1::integer[]) lane`

const drawArrivalStatement = `
select nextval('notifications.arrival')`

const deliverStatement = `
insert into notifications.inbox (account, arrival, event)
select account, $2, $3
from   unnest($1::bigint[]) account`

const saveCheckpointStatement = `
update notifications.event
set    last_account = $2,
       complete     = $3
where  id = $1`

const announceStatement = `
select pg_notify('` + announceChannel + `', $1)`

// announceChannel is the NOTIFY channel of announcements.
const announceChannel = "notifications_arrived"

// A lane is a lock over a share of the inboxes. Only one chunk at a time is delivered in
// each lane, so that the arrival numbers of one inbox ascend in commit order. A lane
// covers runs of consecutive accounts: the accounts of one chunk of a large channel are
// close together, so a chunk needs few lanes.
const (
	laneCount   = 64
	laneRunBits = 12 // a run has 1 << laneRunBits accounts
)

// lanesFor returns the lanes of the accounts, ascending and without duplicates.
func lanesFor(accounts []int64) pq.Int32Array {
	var lanes pq.Int32Array
	for _, account := range accounts {
		lane := int32(account >> laneRunBits % laneCount)
		if len(lanes) == 0 || lanes[len(lanes)-1] != lane {
			lanes = append(lanes, lane)
		}
	}
	slices.Sort(lanes)
	return slices.Compact(lanes)
}

// position is a talk's number among its channel's publications. The zero position
// stands for an event that is not numbered.
type position struct{ channel, number int64 }

const watermarkStatement = `
select through
from   notifications.channel
where  channel = $1`

// watermark returns the number up to which all of a channel's publications have been
// delivered to its followers.
func (s store) watermark(ctx context.Context, channel int64) (int64, error) {
	number, _, err := postgres.One(ctx, s.db, postgres.Value[int64], watermarkStatement, channel)
	return number, err
}

const advanceWatermarkStatement = `
insert into notifications.channel as c (channel, through)
values ($1, $2)
on conflict (channel) do update
set    through = excluded.through
where  c.through < excluded.through`

// advanceWatermark raises a channel's watermark to a position. It never lowers it.
func (s store) advanceWatermark(ctx context.Context, p position) error {
	return advanceWatermark(ctx, s.db, p)
}

func advanceWatermark(ctx context.Context, q postgres.Querier, p position) error {
	if p.number == 0 {
		return nil
	}
	_, err := postgres.Exec(ctx, q, advanceWatermarkStatement, p.channel, p.number)
	return err
}

// deliver adds an event to a chunk of inboxes. The accounts are ascending and above the
// checkpoint. Checkpoint, inbox rows and announcement commit together; the last chunk
// also advances the channel's watermark. deliver returns false and changes nothing if
// another consumer has moved the checkpoint.
func (s store) deliver(ctx context.Context, event int64, after int64, accounts []int64, last bool, pos position) (delivered bool, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		p, _, err := postgres.One(ctx, tx, scanProgress, lockCheckpointStatement, event)
		if err != nil || p.complete || p.lastAccount != after {
			return err
		}
		checkpoint := after
		if len(accounts) > 0 {
			checkpoint = accounts[len(accounts)-1]
			if _, err := postgres.Exec(ctx, tx, lockLanesStatement, lanesFor(accounts)); err != nil {
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
		if _, err := postgres.Exec(ctx, tx, saveCheckpointStatement, event, checkpoint, last); err != nil {
			return err
		}
		if last {
			if err := advanceWatermark(ctx, tx, pos); err != nil {
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

// A loose index scan of the primary key: one step per account, however many items an
// inbox has.
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

func (s store) nextAccounts(ctx context.Context, after int64, limit int) ([]int64, error) {
	return postgres.Collect(ctx, s.db, postgres.Value[int64], nextAccountsStatement, after, limit)
}

// excess has the newest arrival to delete from each inbox over its limit.
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
), marked as (
    insert into notifications.reader as r (account, trimmed_through)
    select account, arrival from excess
    on conflict (account) do update
    set    trimmed_through = greatest(r.trimmed_through, excluded.trimmed_through)
)
delete from notifications.inbox i
using  excess x
where  i.account = x.account
  and  i.arrival <= x.arrival`

// trim deletes all but the newest keep items of each inbox and returns the number
// deleted.
func (s store) trim(ctx context.Context, accounts []int64, keep int) (int64, error) {
	return postgres.Exec(ctx, s.db, trimStatement, pq.Array(accounts), keep)
}
