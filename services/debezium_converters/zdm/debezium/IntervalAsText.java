package zdm.debezium;

import org.postgresql.util.PGInterval;

/** PostgreSQL's interval, as far as MySQL's TIME can hold it: days are 24 hours, months and years are refused. */
public final class IntervalAsText extends ChosenColumns {

    @Override
    Long micros(Object value) {
        if (!(value instanceof PGInterval span) || span.getYears() != 0 || span.getMonths() != 0) {
            return null;
        }
        long seconds = ((span.getDays() * 24L + span.getHours()) * 60 + span.getMinutes()) * 60 + span.getWholeSeconds();
        return seconds * 1_000_000 + span.getMicroSeconds();
    }
}
