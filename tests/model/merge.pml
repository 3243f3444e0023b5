/*
 * merge: how messages of a channel with history reach those who subscribe, as broker/hub/stream.c and
 * worker/core/past.c do it, for Spin.  scripts/check-model checks it.
 *
 * The engine keeps a log and has a live feed; the two are read over links of their own, each as late as it
 * likes, and the feed may lose anything.  The hub puts them together; a worker asks it, from a position
 * or without, and passes on what it gets to two clients: one is there from the start, the other comes
 * with the position 0 of epoch 0 at some time.
 *
 * What is asserted: a client gets message P + 1 of the same epoch after message P, or is told; an answer
 * that says "recovered" has all messages from the position that was asked for up to its own; and when
 * nothing moves any more, all clients stand where the engine stands.  With HARMLESS, which lets nothing
 * be lost for good, nobody may be told anything.
 *
 * Bounds: MESSAGES are published, HISTORY of them are kept, a read gives LIMIT at most, HELD live messages
 * are held during reads; OUTAGES, RESTARTS (of the hub) and EPOCHS (changes) happen at most.
 *
 * Each of these breaks one rule, which must be found out: BREAK_HOLD (live messages wait while history is
 * read), BREAK_VERIFY (nobody is refused before the engine was asked), BREAK_EPOCH (a new epoch is told),
 * BREAK_OVERRUN (what a link had no room for is told).
 */
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef HISTORY
#define HISTORY 2
#endif
#ifndef LIMIT
#define LIMIT 1
#endif
#ifndef HELD
#define HELD 1
#endif
#ifndef OUTAGES
#define OUTAGES 1
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef EPOCHS
#define EPOCHS 1
#endif

#define NONE 255 /* as an epoch: no position */
#define ROOM 2   /* messages that a worker's link takes; two more fit for the rest */

mtype = { MESSAGE, ANSWER, GAP };

/* --- the links ------------------------------------------------------------------------------ */

chan feed = [2] of { byte, byte };         /* epoch, offset */
chan query = [1] of { byte, bool };        /* after, only the top */
chan result = [1] of { byte, byte, byte, byte }; /* epoch, top, messages from, to */

/* To a worker: epoch, offset, and of an answer the position after which its messages begin. */
chan down0 = [ROOM + 2] of { mtype, byte, byte, byte, bool };
chan down1 = [ROOM + 2] of { mtype, byte, byte, byte, bool };
chan up0 = [1] of { byte, byte, bool }; /* epoch, offset, verify */
chan up1 = [1] of { byte, byte, bool };

byte left_outages = OUTAGES, left_restarts = RESTARTS, left_epochs = EPOCHS;
hidden byte ep, off, lo, hi, k; /* of the step that is being made: set before they are used */
hidden byte ok;

/* --- the engine ----------------------------------------------------------------------------- */

byte top, epoch, published;
#define FIRST (top > HISTORY -> top - HISTORY + 1 : 1)

/* --- the hub -------------------------------------------------------------------------------- */

byte pos_e = NONE, pos_o;
bool reading, stale, arrived, missed, mid;
byte at_e, at_o, run_after;
byte held_e, held_o[HELD], held_n;

typedef waiter {
	bool on, verify, asked;
	byte e, o;
};
waiter waits[WORKERS];
bool link_gap[WORKERS]; /* something is missing on the worker's link that it has not been told of */

/* --- workers -------------------------------------------------------------------------------- */

typedef worker_state {
	byte e, o;       /* where it stands, and its first client with it */
	bool gap, asking;
	byte asked_e, asked_o;
	bool asked_late; /* it was from the second client's position */
	bool late;       /* the second client waits */
	bool came;       /* it has come */
};
worker_state w[WORKERS];
bool told;

inline send(i, type, x, y, from, flag) {
	if
	:: i == 0 -> down0!type(x, y, from, flag)
	:: else -> down1!type(x, y, from, flag)
	fi
}

/* The link has no room where it is full; it may be so anyway at the first worker. */
inline deliver(y) {
	k = 0;
	do
	:: k < WORKERS ->
		if
		:: link_gap[k] || (k == 0 && len(down0) >= ROOM) || (k == 1 && len(down1) >= ROOM) ->
#ifndef BREAK_OVERRUN
			link_gap[k] = true
#else
			skip
#endif
		:: else -> send(k, MESSAGE, pos_e, y, 0, false)
		fi;
		k++
	:: else -> break
	od
}

inline say_gap() {
	k = 0;
	do
	:: k < WORKERS -> link_gap[k] = true; k++
	:: else -> break
	od
}

#define COLD (pos_e == NONE)
#if WORKERS == 1
#define WAITING (waits[0].on)
#else
#define WAITING (waits[0].on || waits[1].on)
#endif
#define DUE (!reading && (WAITING || (!COLD && (stale || mid))))

/* Answers waiter i, if it can be: known are the messages after `since`. */
#define JUDGE_WAIT 0
#define JUDGE_RECOVER 1
#define JUDGE_REFUSE 2
hidden byte verdict;

inline judge(i, since) {
	if
	:: COLD -> verdict = JUDGE_WAIT
	:: else ->
		if
		:: waits[i].e == NONE -> verdict = JUDGE_REFUSE
		:: else ->
			if
			:: waits[i].verify && !waits[i].asked -> verdict = JUDGE_WAIT
			:: else ->
				if
				:: waits[i].e == pos_e && waits[i].o == pos_o -> verdict = JUDGE_RECOVER
				:: waits[i].e == pos_e && waits[i].o < pos_o && waits[i].o >= since ->
					verdict = JUDGE_RECOVER
				:: else ->
#ifdef BREAK_VERIFY
					verdict = JUDGE_REFUSE
#else
					verdict = (waits[i].asked -> JUDGE_REFUSE : JUDGE_WAIT)
#endif
				fi
			fi
		fi
	fi
}

/* Known are the messages after `since`, up to `last`. */
inline answer(i, since, last) {
	if
	:: waits[i].on ->
		judge(i, since);
		if
		:: verdict == JUDGE_WAIT
		:: else ->
			/* What is said to be recovered is at hand. */
			assert(verdict != JUDGE_RECOVER || waits[i].o == pos_o ||
			    (waits[i].o >= since && last == pos_o));
			send(i, ANSWER, pos_e, pos_o, waits[i].o, verdict == JUDGE_RECOVER);
			waits[i].on = false
		fi
	:: else
	fi
}

inline answer_all(since, last) {
	answer(0, since, last);
#if WORKERS > 1
	answer(1, since, last);
#endif
}

/* Where a round begins. */
inline lowest(i) {
	if
	:: waits[i].on && waits[i].e != NONE && (off == NONE || waits[i].o < off) -> off = waits[i].o
	:: else
	fi
}

inline hold() {
	if
	:: held_n > 0 && held_e != ep -> held_n = 0; missed = true
	:: else
	fi;
	if
	:: held_n > 0 && off <= held_o[held_n - 1] /* a copy */
	:: else ->
		if
		:: held_n == HELD -> missed = true
		:: else -> held_e = ep; held_o[held_n] = off; held_n++
		fi
	fi
}

inline release() {
	lo = 0;
	do
	:: lo < held_n && held_e == pos_e && held_o[lo] <= pos_o + 1 ->
		if
		:: held_o[lo] == pos_o + 1 -> pos_o++; deliver(pos_o)
		:: else
		fi;
		lo++
	:: else -> break
	od;
	stale = stale || missed || (arrived && lo < held_n);
	held_n = 0
}

/* A live message (ep, off). */
inline on_message() {
	if
	:: ep == pos_e && off <= pos_o
	:: !(ep == pos_e && off <= pos_o) && !reading && ep == pos_e && off == pos_o + 1 ->
		pos_o = off;
		deliver(off)
#ifdef BREAK_HOLD
	:: reading && ep == pos_e && off > pos_o -> pos_o = off; deliver(off)
	:: !(ep == pos_e && off <= pos_o) && !(reading && ep == pos_e) &&
		!(!reading && ep == pos_e && off == pos_o + 1) ->
#else
	:: !(ep == pos_e && off <= pos_o) && !(!reading && ep == pos_e && off == pos_o + 1) ->
#endif
		if
		:: reading -> arrived = true; hold()
		:: else -> stale = true
		fi
	fi
}

inline begin_read() {
	reading = true;
	stale = false;
	arrived = false;
	missed = false;
	if
	:: mid -> query!at_o, false
	:: else ->
		off = (COLD -> NONE : pos_o);
		lowest(0);
		waits[0].asked = true;
#if WORKERS > 1
		lowest(1);
		waits[1].asked = true;
#endif
		at_o = (off == NONE -> 0 : off);
		run_after = at_o;
		query!at_o, (off == NONE)
	fi
}

/* The engine's answer: epoch ep, top hi, messages lo to off. */
inline on_result() {
	reading = false;
	if
	:: (!COLD && (ep != pos_e || hi < pos_o)) || (mid && ep != at_e) ->
		waits[0].asked = waits[0].asked && !COLD && waits[0].e != ep;
#if WORKERS > 1
		waits[1].asked = waits[1].asked && !COLD && waits[1].e != ep;
#endif
		mid = false;
		if
		:: COLD
		:: else ->
			pos_e = ep;
			pos_o = hi;
#ifndef BREAK_EPOCH
			say_gap();
#endif
			answer_all(NONE, NONE);
			release()
		fi
	:: else ->
		at_e = ep;
		/* A hole before the first of them, or where there are none up to the top. */
		if
		:: lo > off && at_o < hi -> lo = hi + 1; off = hi
		:: lo > off && at_o >= hi -> lo = at_o + 1; off = at_o
		:: else
		fi;
		if
		:: lo != at_o + 1 -> run_after = lo - 1
		:: else
		fi;
		if
		:: !COLD && lo > pos_o + 1 ->
			say_gap();
			pos_o = lo - 1
		:: else
		fi;
		at_o = off;
		do
		:: !COLD && pos_o < at_o -> pos_o++; deliver(pos_o)
		:: else -> break
		od;
		if
		:: at_o < hi -> mid = true
		:: else ->
			mid = false;
			if
			:: COLD -> pos_e = ep; pos_o = hi
			:: else
			fi;
			answer_all(run_after, at_o);
			release()
		fi
	fi
}

/* Worker i asks for the channel from (ep, off) on; ok: verify. */
inline on_ask(i) {
	waits[i].on = true;
	waits[i].e = ep;
	waits[i].o = off;
	waits[i].verify = ok;
	waits[i].asked = false;
	answer(i, NONE, NONE)
}

inline end_reads() {
	do
	:: query?_, _
	:: result?_, _, _, _
	:: empty(query) && empty(result) -> break
	od;
	reading = false;
	mid = false
}

inline empty_feed() {
	do
	:: feed?_, _
	:: empty(feed) -> break
	od
}

inline restart(i, down, up) {
	do
	:: down?_, _, _, _, _
	:: up?_, _, _
	:: empty(down) && empty(up) -> break
	od;
	waits[i].on = false;
	link_gap[i] = false;
	w[i].asking = false;
	w[i].gap = (w[i].e != NONE)
}

active proctype hub() {
end:
	do
	:: atomic { feed?ep, off -> on_message() }
	:: atomic { DUE -> begin_read() }
	:: atomic { result?ep, hi, lo, off -> on_result() }
	:: atomic { up0?ep, off, ok -> on_ask(0) }
	:: atomic { link_gap[0] && len(down0) <= ROOM ->
			link_gap[0] = false; down0!GAP(0, 0, 0, false) }
#if WORKERS > 1
	:: atomic { up1?ep, off, ok -> on_ask(1) }
	:: atomic { link_gap[1] && len(down1) <= ROOM ->
			link_gap[1] = false; down1!GAP(0, 0, 0, false) }
#endif
	:: atomic { left_restarts > 0 ->
			left_restarts--;
			pos_e = NONE; pos_o = 0;
			stale = false; arrived = false; missed = false;
			held_n = 0;
			end_reads();
			empty_feed();
			restart(0, down0, up0);
#if WORKERS > 1
			restart(1, down1, up1);
#endif
		}
	od
}

active proctype engine() {
end:
	do
	:: atomic { published < MESSAGES ->
			published++;
			top++;
			if
			:: nfull(feed) -> feed!epoch, top
			:: true /* lost */
			fi }
	:: atomic { query?off, ok ->
			lo = (off + 1 > FIRST -> off + 1 : FIRST);
			hi = (lo + LIMIT - 1 < top -> lo + LIMIT - 1 : top);
			if
			:: ok -> lo = 1; hi = 0
			:: else
			fi;
			if
			:: lo > hi && ok && top > 0 -> result!epoch, top, top + 1, top
			:: else -> result!epoch, top, lo, hi
			fi }
	/* The hub's links go and come back: what was on its way is lost. */
	:: atomic { left_outages > 0 ->
			left_outages--;
			empty_feed();
			end_reads();
			waits[0].asked = false;
#if WORKERS > 1
			waits[1].asked = false;
#endif
			if
			:: left_epochs > 0 -> /* another server, which may lack the last one */
				left_epochs--;
				epoch++;
				if
				:: top > 0 -> top--
				:: true
				fi
			:: true
			fi;
			stale = true }
	:: atomic { left_epochs > 0 -> left_epochs--; epoch++ }
	od
}

/* What worker i asks next: for its own gap first, then for the one who waits. */
inline ask(i, up) {
	w[i].asking = true;
	w[i].asked_late = w[i].late && !w[i].gap;
	if
	:: w[i].asked_late -> w[i].asked_e = 0; w[i].asked_o = 0
	:: else -> w[i].asked_e = w[i].e; w[i].asked_o = w[i].o
	fi;
	up!w[i].asked_e, w[i].asked_o, (w[i].asked_late && w[i].e != 0)
}

inline on_live(i, me, mo) {
	if
	:: w[i].e == NONE || w[i].gap || mo <= w[i].o
#ifdef BREAK_HOLD /* or the worker would find it out */
	:: !(w[i].e == NONE || w[i].gap || mo <= w[i].o) ->
#else
	:: !(w[i].e == NONE || w[i].gap || mo <= w[i].o) && mo != w[i].o + 1 -> w[i].gap = true
	:: !(w[i].e == NONE || w[i].gap || mo <= w[i].o) && mo == w[i].o + 1 ->
#endif
		/* It goes to the clients. */
		assert(me == w[i].e && mo == w[i].o + 1);
		w[i].o = mo
	fi
}

inline on_answer(i, me, mo, from, recovered) {
	w[i].asking = false;
	assert(!recovered || (me == w[i].asked_e && from == w[i].asked_o));
	if
	/* Of no use for the client that is here. */
	:: w[i].e != NONE && !(me == w[i].e && mo == w[i].o) &&
		!(recovered && me == w[i].e && from <= w[i].o) && w[i].asked_late ->
		w[i].gap = true
	:: else ->
		if
		:: w[i].e == NONE || (me == w[i].e && mo == w[i].o) ||
			(recovered && me == w[i].e && from <= w[i].o)
		:: else -> told = true
		fi;
		if
		:: w[i].asked_late ->
			w[i].late = false;
			told = told || !recovered
		:: else
		fi;
		w[i].e = me;
		w[i].o = mo;
		w[i].gap = false
	fi
}

#define ASKS(i) (!w[i].asking && (w[i].gap || w[i].late || w[i].e == NONE))

proctype worker(byte i; chan down; chan up) {
	byte me, mo, from;
	bool recovered;

end:
	do
	:: atomic { down?MESSAGE(me, mo, from, recovered) -> on_live(i, me, mo) }
	:: atomic { down?ANSWER(me, mo, from, recovered) -> on_answer(i, me, mo, from, recovered) }
	:: atomic { down?GAP(me, mo, from, recovered) -> w[i].gap = (w[i].e != NONE) }
	:: atomic { ASKS(i) && nfull(up) -> ask(i, up) }
	:: atomic { !w[i].came -> w[i].came = true; w[i].late = true }
	od
}

#define CAUGHT_UP(i) (w[i].e == epoch && w[i].o == top && !w[i].late && !w[i].gap)

init {
	atomic {
		w[0].e = NONE;
		run worker(0, down0, up0);
#if WORKERS > 1
		w[1].e = NONE;
		run worker(1, down1, up1);
#endif
	};
	/* When nothing moves, what nobody knows of is found by a check of the position. */
	timeout -> stale = true;
	timeout -> assert(CAUGHT_UP(0));
#if WORKERS > 1
	assert(CAUGHT_UP(1));
#endif
#ifdef HARMLESS
	assert(!told);
#endif
}
