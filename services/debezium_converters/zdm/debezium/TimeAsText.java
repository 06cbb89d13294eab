package zdm.debezium;

import java.time.Duration;

/** MySQL's TIME, from -838:59:59 to 838:59:59. */
public final class TimeAsText extends ChosenColumns {

    /** Rows hold a duration; a column's DEFAULT comes in microseconds (`time.precision.mode`). */
    @Override
    Long micros(Object value) {
        if (value instanceof Long micros) {
            return micros;
        }
        return value instanceof Duration span ? Long.valueOf(span.toNanos() / 1_000) : null;
    }
}
