package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

const stateStatement = `
select pg_is_in_recovery(),
       not pg_is_in_recovery() and not current_setting('default_transaction_read_only')::bool,
       (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end - '0/0')::bigint,
       exists (select from pg_stat_wal_receiver)`

// ask asks the host what it is.
func (h *dataHost) ask(ctx context.Context) []finding {
	return within(h.deadline, h.address.String()+", role in the tier", func(ctx context.Context) finding {
		var is state
		f := h.as(ctx, h.roles()[0], func(ctx context.Context, conn *sql.Conn) finding {
			if err := conn.QueryRowContext(ctx, stateStatement).Scan(&is.standby, &is.writes, &is.at, &is.follows); err != nil {
				return h.asking(err)
			}
			switch {
			case is.standby && !is.follows:
				return finding{Verdict: wrong, Found: "a standby that receives nothing from its primary",
					Fix: fmt.Sprintf("on %s, see that STANDBY_OF names the primary, that its port is reached from there, and what the log says", h.address.host)}
			case is.standby:
				return finding{Verdict: fine, Found: "a standby, which follows its primary"}
			case !is.writes:
				return finding{Verdict: wrong, Found: "a primary that takes no writes", Fix: "see who set default_transaction_read_only there: select * from pg_db_role_setting"}
			}
			return finding{Verdict: fine, Found: "the primary, which takes writes"}
		})
		h.keep(func() { h.answered, h.state = f.Verdict == fine || is.standby, is })
		return f
	})(ctx)
}

// mostSkew is how far two clocks may be apart: leases end and sessions expire by them.
const mostSkew = time.Second

// clock compares the host's clock with this one.
func (h *dataHost) clock(ctx context.Context) []finding {
	return within(h.deadline, h.address.String()+", clock", func(ctx context.Context) finding {
		return h.as(ctx, h.roles()[0], func(ctx context.Context, conn *sql.Conn) finding {
			var skew time.Duration
			best := time.Duration(-1)
			// The quickest answer says most: half of its time is all that is not known.
			for range 5 {
				var there time.Time
				asked := time.Now()
				if err := conn.QueryRowContext(ctx, `select clock_timestamp()`).Scan(&there); err != nil {
					return h.asking(err)
				}
				if took := time.Since(asked); best < 0 || took < best {
					best, skew = took, there.Sub(asked.Add(took/2))
				}
			}
			found := fmt.Sprintf("%s from this host's, give or take %s", skew.Round(10*time.Microsecond), (best / 2).Round(10*time.Microsecond))
			if skew.Abs()-best/2 > mostSkew {
				return finding{Verdict: wrong, Found: found, Fix: "have both hosts set their clocks by NTP: timedatectl set-ntp true, and timedatectl timesync-status says how it goes"}
			}
			return finding{Verdict: fine, Found: found}
		})
	})(ctx)
}
