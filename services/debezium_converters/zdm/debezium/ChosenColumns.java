package zdm.debezium;

import io.debezium.spi.converter.CustomConverter;
import io.debezium.spi.converter.RelationalColumn;
import java.util.Properties;
import java.util.regex.Pattern;
import org.apache.kafka.connect.data.SchemaBuilder;

/**
 * Carries a span of time as text, {@code [-]HHH:MM:SS.ffffff}, which both databases read: PostgreSQL as interval, MySQL
 * as TIME. Debezium's own ways lose it: the JDBC sink takes microseconds for a time of day, and stops at 24 hours.
 *
 * <p>{@code selector} is a pattern over {@code <database or schema>.<table>.<column>}; other columns stay as they are.
 */
abstract class ChosenColumns implements CustomConverter<SchemaBuilder, RelationalColumn> {

    private static final long SECOND = 1_000_000L;

    private Pattern selector;

    @Override
    public void configure(Properties properties) {
        String pattern = properties.getProperty("selector");
        if (pattern == null) {
            throw new IllegalArgumentException(getClass().getName() + " needs a selector");
        }
        selector = Pattern.compile(pattern);
    }

    @Override
    public void converterFor(RelationalColumn column, ConverterRegistration<SchemaBuilder> registration) {
        String path = column.dataCollection() + "." + column.name();
        if (!selector.matcher(path).matches()) {
            return;
        }
        SchemaBuilder schema = SchemaBuilder.string();
        registration.register(column.isOptional() ? schema.optional() : schema, value -> {
            if (value == null) {
                return null;
            }
            Long micros = micros(value);
            if (micros == null) {
                throw new IllegalArgumentException(
                        path + " holds no span of time that " + getClass().getName() + " can carry: " + value.getClass());
            }
            return text(micros);
        });
    }

    /** The microseconds of a value as the connector reads it; null if it is no span of hours, minutes and seconds. */
    abstract Long micros(Object value);

    private static String text(long micros) {
        long left = Math.abs(micros);
        long seconds = left / SECOND;
        return String.format("%s%02d:%02d:%02d.%06d", micros < 0 ? "-" : "", seconds / 3600, seconds / 60 % 60,
                seconds % 60, left % SECOND);
    }
}
